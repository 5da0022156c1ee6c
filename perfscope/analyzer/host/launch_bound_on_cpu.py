"""Launch-bound on a CPU: the thread that computes spends its time calling operators."""

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.cpu_work import DATALESS, computing_spans, dispatch_ns
from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    missing_steps,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION, PEER_WAIT
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.compute.compute_case import call_sites
from perfscope.analyzer.compute.work_units import runs_on_cpu
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.host.dispatch import Dispatch, cpu_dispatch
from perfscope.analyzer.host.optimizer_calls import FUSE_OPTIMIZER, optimizer_calls
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.run.table_access import column, manifest, table
from perfscope.traces.trace import Trace

MOST_NAMES = 3

LARGER_OPERATORS = Advice(
    "give-operators-more-work",
    "give each operator more to do: a larger batch, one batched matrix multiplication for several"
    " small ones",
    "dispatch-dominates",
    "Calling operators takes at least 35 % of a step.",
)
COMPILE_DISPATCH = Advice(
    "compile-to-reduce-dispatch",
    "let torch.compile fuse operators and remove Python between them",
    "operators-are-eager",
    "Operators were recorded, and none of them is compiled code.",
)
ADVICE = (LARGER_OPERATORS, COMPILE_DISPATCH)


def is_windowed_cpu_run(trace: Trace, limits: Limits) -> bool:
    """Return whether this is a run on a CPU with a profiling window and enough steps."""
    windowed = table(trace, "windows") is not None and runs_on_cpu(trace)
    return windowed and missing_steps(trace, limits) is None


def cpu_dispatch_finding(trace: Trace, limits: Limits, id: str) -> Finding | None:
    """Return the finding where calling operators takes enough of a step."""
    process = critical_rank(trace, limits)
    ops = table(trace, "ops")
    if process is None or ops is None:
        return None
    rows = steps_of(trace, process)
    step, dispatch = float(rows["dur"].mean()), cpu_dispatch(trace, process)
    share, cost = dispatch.total, dispatch.total * step
    torch = manifest(trace).torch
    has_other_cause = is_dispatched_by_program(dispatch, limits) or (
        torch is not None and torch.anomaly_detection
    )
    if share < limits.dispatch_share or has_other_cause:
        return None
    # Ranks that dispatch alike wait less for each other when they dispatch less.
    communication = float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).mean()) / step
    of_process = ops[(ops["process"] == process).to_numpy()]
    return Finding(
        id=id,
        cause=None,
        severity=severity_of(share, limits),
        processes=[process],
        lost_s=round(cost * len(rows) / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share / max(1.0 - communication, share)),
        headline=(
            f"Launch-bound: calling operators takes {percent(share)} of each step ({ms(cost)})"
        ),
        explanation=dispatch_explanation(trace, of_process, process),
        caveat="A faster CPU core would help; more cores would not.",
        evidence=dispatch_evidence(trace, of_process, process),
        actions=dispatch_actions(trace, process, share, limits),
    )


def is_dispatched_by_program(dispatch: Dispatch, limits: Limits) -> bool:
    """Return whether much of the dispatch is outside of the model, backward and the optimizer.

    The advice of this finding changes only those three.
    """
    return dispatch.outside >= limits.dispatched_by_program * dispatch.total


def dispatch_explanation(trace: Trace, ops: pd.DataFrame, process: int) -> str:
    """Return how long an operator computes, and how many a step calls."""
    begin, end, row = computing_spans(ops)
    computed = float((end - begin).sum()) / max(len(np.unique(row)), 1)
    steps = window_steps(trace, process)
    per_step = ""
    if steps:
        called = float((~ops["name"].isin(DATALESS)).sum())
        per_step = f", with {digits(called / steps)} operators per step"
    return (
        f"An operator computes {ms(computed)} on average{per_step}; the rest is dispatch and"
        " Python."
    )


def dispatch_actions(trace: Trace, process: int, share: float, limits: Limits) -> list[Action]:
    """Return the actions where calling operators takes this share of a step."""
    code, optimizer = compiled_code(trace, process), optimizer_calls(trace, process)
    return [
        *LARGER_OPERATORS.given(
            share >= limits.dispatch_share,
            f"calling operators takes {percent(share)} of a step",
            snippet="torch.baddbmm(bias, x, weight)",
        ),
        *COMPILE_DISPATCH.given(code.is_eager, code.text, snippet="torch.compile(model)"),
        *FUSE_OPTIMIZER.given(
            optimizer.is_unfused, optimizer.text, snippet="torch.optim.AdamW(..., fused=True)"
        ),
    ]


def window_steps(trace: Trace, process: int) -> int:
    """Return the number of whole steps inside the windows of a process."""
    windows = table(trace, "windows")
    if windows is None:
        return 0
    kept = windows[(windows["process"] == process) & windows["kept"]]
    return int(kept["steps"].sum())


def dispatch_evidence(trace: Trace, ops: pd.DataFrame, process: int) -> list[Evidence]:
    """Return what dispatching costs, which operators are called most, and where."""
    cost = dispatch_ns(ops)
    longest = ops.iloc[int(np.argmax(column(ops, "dur")))]
    begin, end = int(longest["ts"]), int(longest["ts"] + longest["dur"])
    evidence = [
        Evidence(
            f"calling an operator that touches no data takes {ms(cost)} (profiled)",
            round(cost / 1e6, 5),
            "ms",
            process=process,
        ),
        Evidence(
            f"called most in the window: {most_called(ops)}",
            start_ns=begin,
            end_ns=end,
            process=process,
            lane="host",
        ),
    ]
    outermost = ops.index.to_numpy(np.int64)[column(ops, "parent") < 0]
    places = pd.Series(call_sites(trace, outermost)).value_counts(normalize=True)
    shares = [f"{name} {percent(float(share))}" for name, share in places.items() if name]
    if shares:
        evidence.append(Evidence(f"outermost calls by place: {', '.join(shares)}"))
    return evidence


def most_called(ops: pd.DataFrame) -> str:
    """Return the operators that are called most, with their numbers of calls."""
    counts = ops["name"].astype(object).value_counts()
    repeated = [
        f"`{str(name).removeprefix('aten::')}` {count}"
        for name, count in counts.items()
        if count > 1
    ]
    return ", ".join(repeated[:MOST_NAMES])
