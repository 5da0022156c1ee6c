"""The summary of a run, computed once: everything that is decided before findings are judged."""

from dataclasses import dataclass
from typing import Literal

from perfscope.analyzer.budget.critical_rank import critical_rank, rank_of_process
from perfscope.analyzer.budget.rank_budgets import budget_over, budgets
from perfscope.analyzer.diagnosis import (
    BudgetEntry,
    CodeCost,
    Device,
    MemoryUse,
    Process,
    ProcessBudget,
    RunPhase,
    StepSummary,
    Throughput,
    Workload,
)
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.request_figures import Requests
from perfscope.analyzer.run.hangs.hung_job import still_job
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.ranks.local_ranks import ranks_at_once
from perfscope.analyzer.run.serving_processes import answering_processes
from perfscope.analyzer.serving.request_summary import request_summary
from perfscope.analyzer.serving.server_load import server_loads
from perfscope.analyzer.summary.code_costs import code_costs
from perfscope.analyzer.summary.memory_summary import memory_summary
from perfscope.analyzer.summary.recorded_processes import recorded_devices, recorded_processes
from perfscope.analyzer.summary.run_budget import run_budget, span_s
from perfscope.analyzer.summary.step_summary import step_summary
from perfscope.analyzer.summary.throughput import throughput
from perfscope.analyzer.summary.trace_run_budget import trace_run_budget
from perfscope.traces.trace import Trace

WORKLOADS: dict[str, Workload] = {
    "train": "training",
    "warmup": "training",
    "inference": "inference",
    "eval": "inference",
}


@dataclass(frozen=True)
class Run:
    """A recording and what is known of it.

    `critical_process` holds the others up, None with too few steps to tell; `budget_rank` and
    `budget_process` are those whose `time_budget` is shown.
    """

    trace: Trace
    workload: Workload
    processes: list[Process]
    devices: list[Device]
    critical_process: int | None
    budget_rank: int | None
    budget_process: int | None
    budget_over: Literal["steps", "span"]
    time_budget: list[BudgetEntry]
    per_process: list[ProcessBudget]
    sequential_processes: bool
    steps: StepSummary
    span_s: float
    run_budget: list[RunPhase]
    by_code: list[CodeCost]
    throughput: Throughput
    memory: list[MemoryUse]
    requests: Requests | None


def summarize(trace: Trace, limits: Limits) -> Run:
    """Return the summary of a recording."""
    critical = critical_rank(trace, limits)
    rank = rank_of_process(trace, critical)
    per_process = budgets(trace)
    shown = next((entry for entry in per_process if entry.rank == rank), None)
    summary = step_summary(trace, critical)
    process = critical if critical is not None or shown is None else shown.process
    budget_of_phases = trace_run_budget if trace.has_profiled_work else run_budget
    step_s = None if summary.mean_ms is None else summary.mean_ms / 1e3
    one_at_a_time = not trace.has_profiled_work and ranks_at_once(trace) < 2
    return Run(
        trace=trace,
        workload=workload(trace, process),
        processes=recorded_processes(trace),
        devices=recorded_devices(trace),
        critical_process=critical,
        budget_rank=rank,
        budget_process=None if shown is None else shown.process,
        budget_over=budget_over(trace),
        time_budget=[] if shown is None else shown.time_budget,
        per_process=per_process,
        sequential_processes=len(per_process) > 1 and one_at_a_time,
        steps=summary,
        span_s=span_s(trace),
        run_budget=budget_of_phases(trace, stuck_process(trace) if process is None else process),
        by_code=code_costs(trace, process),
        throughput=throughput(trace, summary, process),
        memory=memory_summary(trace, step_s, limits),
        requests=trace.fact(request_summary),
    )


def stuck_process(trace: Trace) -> int | None:
    """Return the first rank of a job that does not move, None where it moves."""
    still = trace.fact(still_job)
    return None if still is None else still.job.mains()[0].process


def workload(trace: Trace, process: int | None) -> Workload:
    """Return what `process` does, by the phase that most of its time in steps belongs to.

    What has the metrics of an inference engine, or answers requests, is a server.
    """
    has_metrics, answers = bool(trace.fact(server_loads)), bool(trace.fact(answering_processes))
    if has_metrics or answers:
        return "server"
    rows = trace.fact(steps)
    rows = rows[rows["process"] == process]
    if not len(rows):
        return "unknown"
    phase = rows.groupby("phase", observed=True)["dur"].sum().idxmax()
    return WORKLOADS.get(str(phase), "unknown")
