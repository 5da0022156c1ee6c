"""Diagnoses a recording in four stages after it was read: summary, findings, verdict, answer."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from perfscope import __version__
from perfscope.analyzer.check_findings import Checked, check_findings
from perfscope.analyzer.diagnosis import SCHEMA, Diagnosis, Overhead, Source
from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.analyzer.limits import LIMITS, Limits
from perfscope.analyzer.overhead.overhead import overhead
from perfscope.analyzer.run.budget_units import devices_left_out
from perfscope.analyzer.run.table_access import manifest
from perfscope.analyzer.serving.service_levels import with_service_levels
from perfscope.analyzer.summary.data_quality import data_quality
from perfscope.analyzer.summary.operator_summary import operator_summary
from perfscope.analyzer.summary.run import Run, summarize
from perfscope.analyzer.summary.source_texts import with_source_texts
from perfscope.analyzer.summary.step_summary import steps_left_out
from perfscope.analyzer.verdict.judge import Judgement, judge
from perfscope.traces.naming import path_text
from perfscope.traces.trace import Trace


def diagnose_trace(
    trace: Trace,
    limits: Limits = LIMITS,
    *,
    ignored: Collection[str] = (),
    service_levels: Sequence[LatencyLimit] = (),
) -> Diagnosis:
    """Return the whole answer for a recording, without the findings whose ids are `ignored`, and
    with the share of its requests that met `service_levels`.

    Never raises for what a recording lacks: a finding that cannot be checked says why, a rule that
    fails is named with its error, and without enough evidence the verdict is `unknown`, with what
    to do about it.
    """
    run = summarize(trace, limits)
    checked = check_findings(run, limits, ignored)
    requests = with_service_levels(run.requests, trace, service_levels)
    run = replace(run, requests=requests)
    judgement = judge(run, checked.findings, limits, ignored=checked.ignored)
    return assemble(run, checked, judgement, overhead(trace, limits))


def assemble(
    run: Run, checked: Checked, judgement: Judgement, measured_overhead: Overhead | None
) -> Diagnosis:
    """Return the answer, from what the stages returned."""
    trace = run.trace
    answer = Diagnosis(
        schema=SCHEMA,
        perfscope=__version__,
        run=path_text(trace.path) if trace.path is not None else None,
        workload=run.workload,
        processes=run.processes,
        devices=run.devices,
        verdict=judgement.verdict,
        bound_by=judgement.bound_by,
        span_s=run.span_s,
        run_budget=run.run_budget,
        steps=run.steps,
        throughput=run.throughput,
        time_budget=run.time_budget,
        budget_process=run.budget_process,
        budget_over=run.budget_over,
        per_process=run.per_process,
        sequential_processes=run.sequential_processes,
        findings=checked.findings,
        memory=run.memory,
        clear=checked.clear,
        ignored=checked.ignored,
        not_checked=checked.not_checked,
        failed=checked.failed,
        sources=[
            Source(source.name, source.status, source.reason, source.overhead_share)
            for source in manifest(trace).sources
        ],
        dropped=[*manifest(trace).dropped, *steps_left_out(trace), *devices_left_out(trace)],
        data_quality=data_quality(trace),
        overhead=measured_overhead,
        by_code=run.by_code,
        operators=operator_summary(trace, run.budget_rank),
        requests=run.requests,
    )
    return with_source_texts(answer, trace)
