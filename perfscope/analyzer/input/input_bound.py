"""The run waits for its input.

What it means
    Training (or inference) asks for the next batch and has to wait for it: nothing computes
    meanwhile. The cause says what delays the batches.

    - In the loop: `in-process-loading` (no workers), `sampler-bound`, `transfer-bound` (batches are
      ready but slow to receive), `unknown-loader` (the wait is between steps, in code that is not a
      PyTorch loader).
    - At the start of each epoch: `worker-restart`, `slow-worker-start` (new workers take long for
      their first batch), `slow-first-batch` (the first batch is slow although the workers are kept
      between epochs).
    - Among the workers: `too-few-workers`, `fewer-shards-than-workers`, `uneven-workers`,
      `rare-slow-sample`, `shared-lock`.
    - In loading a sample: `per-sample-overhead`, `storage-bound`, `collate-bound`, `decode-bound`
      (decoding fills the cores), `cpu-bound-fetch` (other work does).

How it is detected
    The time in the loader's `next` (and in building iterators) is at least 5 % of the steady steps.
    Up to 1.5 ms per batch are not counted: receiving a ready batch takes that long with any number
    of workers. Each worker's fetch is divided into time on a core, waiting for a core, waiting for
    storage and the rest. Stack samples inside fetches show its stages: searching folders, opening,
    reading, decoding, transforming, waiting for a lock, collating. The cause is the most specific
    one with evidence. The predicted step time is the slower of consumer and workers after the
    change, never less than the remaining CPU time on the usable cores. On a CPU, the computation of
    a step is predicted to take 10 % less time without the waits, because its core no longer sleeps
    between steps. From outside (depth observe) the share comes from stack samples, and only a
    ceiling is given.

What to do
    Follow the cause: more workers only where cores are idle or fetches wait; cheaper decoding where
    it fills the cores; fetching whole batches at once where data are in memory; a cache or larger
    reads where storage is slow; `persistent_workers=True` where new workers start slowly.

When it is wrong
    On a GPU a wait of the host may overlap with work that is still queued on the device. Only waits
    that leave the device idle count. Three sources show that: device events around some of the
    waits, a profiling window, and the driver's counters, which count the kernels of all processes.
    Without any of them the wait is an upper bound, is marked so, and is not a verdict. A loop that
    sleeps between steps on purpose looks like an unknown loader. So does a forward pass that calls
    torch's functions before its first module, if no profiling window shows the operators there.
"""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice, predict_step_time
from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    missing_steps,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.device_evidence import BUSY, timed_devices
from perfscope.analyzer.budget.lines.finding_lines import (
    line_in_fetch,
    line_in_loader,
    line_in_loop,
)
from perfscope.analyzer.budget.observed_budget import ObservedBudget, observed_budget
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.diagnosis import CodeLocation, Evidence, Finding, Speedup
from perfscope.analyzer.input import input_bound_in_traces
from perfscope.analyzer.input.causes import (
    CAUSES,
    collate_bound,
    decode_bound,
    storage_bound,
    too_few_workers,
    unknown_loader,
)
from perfscope.analyzer.input.code_between_steps import gap_code
from perfscope.analyzer.input.fetch_times import fetch_times
from perfscope.analyzer.input.input_pipeline import Pipeline, input_pipelines
from perfscope.analyzer.input.loader_case import (
    LoaderCase,
    PredictedFix,
    avoidable_wait,
    stage_evidence,
    wait_evidence,
)
from perfscope.analyzer.input.loading_code import (
    loading_code,
    sampler_code,
    start_code,
    unbiased_code,
)
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.ranks.local_ranks import concurrent_processes, ranks_at_once
from perfscope.analyzer.run.resources.host_load import HostLoad, cpu_per_step_ns, host_load
from perfscope.analyzer.run.serving_processes import answering_processes
from perfscope.analyzer.run.table_access import column, longest_row, manifest, table, uses_device
from perfscope.analyzer.step_time_models import After, Machine, speedup
from perfscope.traces.trace import Trace

ID = "input-bound"
CAUSES_IN_WORKERS = tuple(
    cause.CAUSE for cause in (too_few_workers, decode_bound, storage_bound, collate_bound)
)
"""Causes whose time goes by in the loader's workers."""

ATTACH_TO_WORKERS = Advice(
    "attach-to-workers",
    "attach to the workers too: `perfscope doctor` lists what is missing",
    "workers-not-recorded",
    "No fetch of a loader worker was recorded.",
)
ATTACH_WITH_PROBE = Advice(
    "attach-with-probe",
    "attach at depth probe to see each worker: `perfscope attach PID`",
    "recorded-from-outside",
    "The run was recorded at depth observe.",
)
RECORD_MORE_STEPS = Advice(
    "record-more-steps",
    "record more steps: `--duration`",
    "too-few-steps",
    "The recording has fewer steady steps than a prediction needs.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why input waits cannot be checked: no steps, and no stack samples from outside; or a
    server, which waits for requests.
    """
    if trace.has_profiled_work:
        return input_bound_in_traces.missing_loader(trace)
    if trace.fact(answering_processes) and table(trace, "loader") is None:
        return Unmet("other", "a server waits for requests, not for a loader")
    missing = missing_steps(trace, limits)
    if missing is not None and trace.fact(observed_budget) is None:
        return missing
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding for the rank that delays the others, None below the limit."""
    if trace.has_profiled_work:
        return input_bound_in_traces.detect(trace, limits)
    process = critical_rank(trace, limits)
    if process is None:
        observed = trace.fact(observed_budget)
        return None if observed is None else finding_from_outside(trace, observed, limits)
    pipelines = trace.fact(input_pipelines)
    pipeline = next(known for known in pipelines if known.process == process)
    if avoidable_wait(pipeline, limits) < limits.recoverable_share * pipeline.step:
        return None
    case = loader_case_of(trace, pipeline, limits)
    cause = next((cause for cause in CAUSES if cause.applies(case)), None)
    if cause is None:
        return finding_without_cause(case)
    return finding_with_cause(trace, case, cause)


def finding_with_cause(trace: Trace, case: LoaderCase, cause: ModuleType) -> Finding:
    """Return the finding of a rank whose cause is known, with the predicted speedup."""
    pipeline, limits = case.pipeline, case.limits
    rows = steps_of(trace, pipeline.process)
    fix = not_below_device(cause.predicted_fix(case), rows, on_device=case.on_device)
    # The rank waits for its own input or, in backward, for another rank that waits for its input.
    exposed = max(pipeline.input_wait, pipeline.step - pipeline.consumer)
    lost_ns = min(max(pipeline.step - fix.after.likely, 0.0), exposed)
    lost_share = lost_ns / pipeline.step
    wait_share = pipeline.input_wait / pipeline.step
    hidden = device_hides(trace, pipeline.process)
    gain = speedup(pipeline.step, fix.after, rows[INPUT_WAIT], rows["dur"])
    if hidden or fix.is_ceiling:
        gain = Speedup(None, None, gain.high)
    upper_bound = "The device may work meanwhile, so this is an upper bound."
    return Finding(
        id=ID,
        cause=cause.CAUSE,
        severity="info" if hidden else severity_of(lost_share, limits),
        processes=[pipeline.process],
        lost_s=round(lost_ns * pipeline.steps / 1e9, 4),
        share=round(lost_share, 4),
        speedup=gain,
        headline=headline_of(wait_share, hidden),
        explanation=fix.text,
        caveat=upper_bound if hidden else fix.caveat,
        evidence=[
            *fix.evidence,
            *stage_evidence(case),
            longest_wait_evidence(trace, rows),
        ],
        actions=predict_step_time(fix.actions, pipeline.step, gain),
        where=fix.where,
    )


def not_below_device(fix: PredictedFix, rows: pd.DataFrame, *, on_device: bool) -> PredictedFix:
    """Return a fix whose predicted step times are not shorter than the device is busy."""
    if not on_device:
        return fix
    busy_ns = float(rows[list(BUSY)].sum(axis=1).mean())
    after = fix.after
    times = (max(ns, busy_ns) for ns in (after.slow, after.likely, after.fast))
    return replace(fix, after=After(*times))


def headline_of(share: float, hidden: bool) -> str:
    """Return the headline for a wait of this share of a step, that a device may hide."""
    if hidden:
        return f"Input wait: the host waits for data up to {percent(share)} of each step"
    return f"Input-bound: training waits for data {percent(share)} of each step"


def device_hides(trace: Trace, process: int) -> bool:
    """Return whether work queued on a device may hide host waits: nothing shows when it is idle.

    Where something does, only waits that leave it idle are in the time budget.
    """
    evidence = trace.fact(timed_devices).get(process)
    return evidence is not None and not evidence.times_waits


def loader_case_of(trace: Trace, pipeline: Pipeline, limits: Limits) -> LoaderCase:
    """Return everything that the causes check."""
    load, ranks, torch = trace.fact(host_load), ranks_at_once(trace), manifest(trace).torch
    cores = reachable_cores(load)
    if cores is not None and ranks > 1:
        # Ranks that wait for each other in each step never keep all cores busy.
        cores *= limits.headroom
    in_loader = pipeline.loader_wait >= limits.main_cause_share * pipeline.input_wait
    gap_is_input = pipeline.workers < 0 or not in_loader
    ranks_together = concurrent_processes(trace, pipeline.process)
    pipelines = trace.fact(input_pipelines)
    fetches = fetch_times(trace, pipeline.process)
    in_workers, fetch = pipeline.workers > 0, pipeline.fetch
    timed = loading_code(trace, pipeline.process, fetches.spans, in_workers=in_workers)
    computes = fetch is None or fetch.cpu + fetch.run_delay >= limits.cpu_dominated * fetch.wall
    return LoaderCase(
        pipeline=pipeline,
        machine=Machine(load.usable_cores, cores, cpu_per_step_ns(trace)),
        load=load,
        limits=limits,
        ranks=ranks,
        delay=sum(known.main_delay for known in pipelines if known.process in ranks_together),
        intra_op_threads=torch.intra_op_threads if torch is not None else None,
        gap_is_input=gap_is_input,
        gap_code=trace.fact(gap_code).get(pipeline.process) if gap_is_input else None,
        on_device=uses_device(trace),
        code=unbiased_code(trace, timed) if in_workers and computes else timed,
        timed_code=timed,
        fetches=fetches,
        start=start_code(trace, pipeline.process, fetches.first_of_new_workers),
        sampler=sampler_code(trace, pipeline.process),
        torch_version=torch.version if torch is not None else "",
    )


def reachable_cores(load: HostLoad) -> float | None:
    """Return the number of cores that the job has or could have.

    These are the cores it uses, the idle ones, and half of what others use: the scheduler is fair.
    """
    if load.tree_cores is None or load.idle_cores is None or load.usable_cores is None:
        return load.usable_cores
    others = max(load.usable_cores - load.tree_cores - load.idle_cores, 0.0)
    return max(load.tree_cores + load.idle_cores + 0.5 * others, 0.1)


def longest_wait_evidence(trace: Trace, rows: pd.DataFrame) -> Evidence:
    """Return the wait of the step that waited longest, with its place on the timeline."""
    row = rows.iloc[int(np.argmax(column(rows, INPUT_WAIT)))]
    begin, process = int(row["ts"]), int(row["process"])
    end = begin + int(row["dur"])
    loader = table(trace, "loader")
    if loader is not None:
        ts = loader["ts"]
        within = loader[(loader["process"] == process) & (ts >= begin) & (ts < end)]
        if len(within):
            wait = longest_row(within)
            begin, end = int(wait["ts"]), int(wait["ts"] + wait["dur"])
    return Evidence(
        text=f"longest wait: {ms(end - begin)} in step {int(row['index'])}",
        value=round((end - begin) / 1e6, 3),
        unit="ms",
        start_ns=begin,
        end_ns=end,
        process=process,
        lane="loader",
    )


def finding_without_cause(case: LoaderCase) -> Finding:
    """Return the finding where no fetch was recorded: the speedup is that of no waits at all."""
    pipeline = case.pipeline
    share = pipeline.input_wait / pipeline.step
    fastest = max(pipeline.consumer, case.machine.floor(), 1.0)
    ceiling = max(pipeline.step / fastest, 1.0)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, case.limits),
        processes=[pipeline.process],
        lost_s=round(pipeline.input_wait * pipeline.steps / 1e9, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(ceiling, 3)),
        headline=headline_of(share, hidden=False),
        explanation="What its loader workers do meanwhile was not recorded.",
        evidence=[wait_evidence(case)],
        actions=ATTACH_TO_WORKERS.given(
            pipeline.fetch is None,
            f"0 fetches recorded in {pipeline.steps} steps",
        ),
    )


def headline_from_outside(seen: ObservedBudget) -> str:
    """Return what stack samples show; on a device only the waits in which it is idle cost time."""
    share = seen.shares[INPUT_WAIT]
    if share < seen.in_loader:
        return f"Input-bound: the device is idle {percent(share)} of the time in waits for data"
    return (
        f"Input-bound: {percent(share)} of the main thread's stack samples are in the data loader"
    )


def finding_from_outside(trace: Trace, seen: ObservedBudget, limits: Limits) -> Finding | None:
    """Return the finding from stack samples: the share of the main thread's time in the loader."""
    share = seen.shares[INPUT_WAIT]
    if share < limits.recoverable_share:
        return None
    processes = table(trace, "processes")
    workers = 0 if processes is None else int((processes["role"] == "loader-worker").sum())
    outside, main = manifest(trace).depth == "observe", limits.main_cause_share
    unseen = "is not visible from outside" if outside else "cannot be measured in so few steps"
    in_process = not workers and seen.in_process_fetch >= main * seen.in_loader
    samples = f"{seen.stack_samples} stack samples of the main thread"
    return Finding(
        id=ID,
        cause="in-process-loading" if in_process else None,
        severity=severity_of(share, limits),
        processes=[seen.process],
        lost_s=round(share * seen.span_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.01), 3)),
        headline=headline_from_outside(seen),
        explanation=(
            f"It has {plural(workers, 'worker process')}. The time that a batch takes {unseen}."
        ),
        evidence=[
            Evidence(
                text=f"{samples}, {percent(seen.in_loader)} of them in the loader",
                value=round(seen.in_loader, 4),
                unit="share",
                process=seen.process,
                lane="stacks",
            )
        ],
        actions=[
            *ATTACH_WITH_PROBE.given(outside, f"recorded at depth observe: {samples}"),
            *RECORD_MORE_STEPS.given(not outside, f"recorded for {seen.span_s:.1f} s"),
        ],
    )


def line_of_loading(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line that loads data, in workers for causes that are there."""
    if finding.cause in CAUSES_IN_WORKERS:
        return line_in_fetch(trace, finding)
    if finding.cause == unknown_loader.CAUSE:
        return line_in_loop(trace, finding)
    return line_in_loader(trace, finding)


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    category=INPUT_WAIT,
    where=line_of_loading,
    consequences=("straggler/input",),
    advice=(
        *dict.fromkeys(advice for cause in CAUSES for advice in cause.ADVICE),
        ATTACH_TO_WORKERS,
        ATTACH_WITH_PROBE,
        RECORD_MORE_STEPS,
        *input_bound_in_traces.ADVICE,
    ),
)
