"""Steps, samples and tokens per second of the job, and the share of peak arithmetic it uses."""

import numpy as np

from perfscope.analyzer.compute.step_flops import step_flops
from perfscope.analyzer.diagnosis import Rate, StepSummary, Throughput
from perfscope.analyzer.input.input_pipeline import Pipeline, fetches_of, input_pipelines
from perfscope.analyzer.run.loops.steps import steady_steps
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.ranks.local_ranks import concurrent_processes
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.traces.intervals import EMPTY
from perfscope.traces.trace import Trace

JOB = "job"
NO_STEPS = "no steady steps were recorded"
NO_BATCH_SIZES = "no recorded fetch has the number of samples of its batch"
NO_TOKENS = "the program does not report tokens: `perfscope.step(tokens=...)`"
NO_COSTS = "the floating-point operations of a whole step, or the device's peak, are not known"


def throughput(trace: Trace, steps: StepSummary, process: int | None) -> Throughput:
    """Return the job's rates over its steady steps; a rate that is not known has its reason."""
    if process is None or not steps.mean_ms:
        return Throughput(*(Rate(None, reason=NO_STEPS) for _ in range(4)))
    return Throughput(
        steps_per_s=Rate(1000.0 / steps.mean_ms, JOB, "steps"),
        samples_per_s=marked_rate(trace, process, "value") or samples_per_s(trace, process),
        tokens_per_s=marked_rate(trace, process, "payload") or Rate(None, reason=NO_TOKENS),
        mfu=model_flops_utilization(trace, process),
    )


def marked_rate(trace: Trace, process: int, column_name: str) -> Rate | None:
    """Return what the program reports per second with `perfscope.step`, None where it does not.

    `column_name`: `value` of table `ranges` holds the samples of a step, `payload` its tokens.
    Summed over the ranks that work at the same time as `process`, if each of them reports it.
    """
    ranks = concurrent_processes(trace, process)
    rates = [marked_rate_of_process(trace, rank, column_name) for rank in ranks]
    known = [rate for rate in rates if rate is not None]
    if not known or len(known) < len(rates):
        return None
    return Rate(sum(known), JOB if len(known) == 1 else f"sum of {len(known)} ranks", "code")


def marked_rate_of_process(trace: Trace, process: int, column_name: str) -> float | None:
    """Return the sum of what the marks of a process report, over the time between them."""
    if trace.is_profiler_trace:
        return None
    marks = rows_of_category(rows_of(trace, "ranges", process), "step")
    if marks is None:
        return None
    amounts = marks[column_name].to_numpy(np.float64)[1:]  # each mark ends the step that it reports
    ends_ns = column(marks, "ts")
    if not len(amounts) or not (amounts >= 0.0).all() or ends_ns[-1] <= ends_ns[0]:
        return None
    return float(amounts.sum() / ((ends_ns[-1] - ends_ns[0]) / 1e9))


def samples_per_s(trace: Trace, process: int) -> Rate:
    """Return the samples per second, summed over the ranks that work at the same time as `process`.

    Ranks are taken to be data-parallel: each trains on the batches that its own loader delivers.
    """
    ranks = concurrent_processes(trace, process)
    pipelines = [pipeline for pipeline in trace.fact(input_pipelines) if pipeline.process in ranks]
    rates = [rank_samples_per_s(trace, pipeline) for pipeline in pipelines]
    known = [rate for rate in rates if rate is not None]
    if not known or len(known) < len(rates):
        return Rate(None, reason=NO_BATCH_SIZES)
    scope = JOB if len(known) == 1 else f"sum of {len(known)} ranks"
    return Rate(sum(known), scope, "loader")


def rank_samples_per_s(trace: Trace, pipeline: Pipeline) -> float | None:
    """Return the samples per second of one rank: samples of a median batch x batches per step /
    step time.
    """
    rows = fact_rows(trace, steady_steps, pipeline.process)
    begin_ns = column(rows, "ts")
    end_ns = begin_ns + column(rows, "dur")
    fetches = fetches_of(trace, pipeline.process, int(begin_ns.min()), int(end_ns.max()), EMPTY)
    samples = column(fetches, "samples")
    samples = samples[samples >= 0]
    if not len(samples) or pipeline.step <= 0.0:
        return None
    return float(np.median(samples)) * pipeline.batches / (pipeline.step / 1e9)


def model_flops_utilization(trace: Trace, process: int) -> Rate:
    """Return the mean share of their peaks that the devices of `process` use (MFU)."""
    utilizations = [
        flops.utilization
        for flops in trace.fact(step_flops)
        if flops.process == process and flops.utilization is not None
    ]
    if not utilizations:
        return Rate(None, reason=NO_COSTS)
    return Rate(float(np.mean(utilizations)), "process", "operators")
