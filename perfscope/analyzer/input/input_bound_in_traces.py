"""`input-bound` in a profiler's trace: waits for PyTorch's loader that leave the device idle.

Without a device, waits in which the thread is idle.
"""

import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.trace_case import Case, case_of, ceiling, mean_per_step, total
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.budget_units import NO_DEVICE
from perfscope.analyzer.run.table_access import column, longest_row, rows_of, table
from perfscope.traces.trace import Trace

NO_LOADER = "the trace has no PyTorch DataLoader; other loaders look like any other Python code"
REPORTED_HIDDEN_PART = 0.1
"""Hidden waits are reported where they exceed this part of the others."""

LOAD_IN_WORKERS = Advice(
    "load-in-workers",
    "load batches in worker processes",
    "no-loader-workers",
    "Every wait in the trace is for a loader with num_workers=0.",
)
ATTACH_TO_THE_RUN = Advice(
    "attach-to-see-workers",
    "attach to the run, to see what the workers do and how many of them the cores can run",
    "workers-not-in-trace",
    "A wait in the trace is for a loader with workers, which a profiler's trace does not show.",
)
ADVICE = (LOAD_IN_WORKERS, ATTACH_TO_THE_RUN)


def missing_loader(trace: Trace) -> Unmet | None:
    """Return why there is nothing to check: no wait for a loader in the trace.

    Time in unknown code between steps is not evidence of a loader.
    """
    loader = table(trace, "loader")
    if loader is not None and len(loader):
        return None
    return Unmet("not-in-this-format", NO_LOADER)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the waits that nothing hides reach the limit."""
    case = case_of(trace, limits)
    waits = case.of(INPUT_WAIT)
    lost = total(waits)
    share = lost / case.span_ns
    if share < limits.recoverable_share:
        return None
    asked = rows_of(trace, "loader", case.unit.process)
    assert asked is not None
    in_process = int((column(asked, "workers") == 0).sum())
    alone = in_process == len(asked)
    hidden = total(asked) - lost
    explanation = "The host waits for its next batch meanwhile."
    if alone:
        explanation += " It loads batches in the training process itself."
    if hidden > REPORTED_HIDDEN_PART * lost:
        explanation += (
            f" Another {ms(hidden)} of waiting overlaps with queued work and costs nothing."
        )
    idle = "the device is idle" if case.unit.device != NO_DEVICE else "the run waits"
    return Finding(
        id="input-bound",
        cause="in-process-loading" if alone else None,
        severity=severity_of(share, limits),
        processes=[case.unit.process],
        lost_s=round(lost / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=f"Input-bound: {idle} {percent(share)} of the time",
        explanation=explanation,
        caveat="A faster GPU would wait longer.",
        evidence=trace_wait_evidence(case, waits, asked),
        actions=trace_loader_actions(in_process, len(asked)),
    )


def trace_wait_evidence(case: Case, waits: pd.DataFrame, asked: pd.DataFrame) -> list[Evidence]:
    """Return the longest exposed wait, and the waits per step."""
    worst, per_step = longest_row(waits), mean_per_step(case, total(waits))
    scope = "per step" if case.steps else "in all"
    return [
        case.timed_evidence(
            f"longest wait that nothing hides: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="loader",
        ),
        case.timed_evidence(
            f"{ms(per_step)} {scope}, in {plural(len(asked), 'wait')}",
            value_ns=per_step,
            lane="loader",
        ),
    ]


def trace_loader_actions(in_process: int, waits: int) -> list[Action]:
    """Return the actions for `waits`, of which `in_process` are for a loader without workers."""
    return [
        *LOAD_IN_WORKERS.given(
            in_process == waits,
            f"num_workers=0 in {in_process} of {plural(waits, 'wait')}",
            snippet="DataLoader(..., num_workers=4, persistent_workers=True)",
        ),
        *ATTACH_TO_THE_RUN.given(
            in_process < waits,
            f"a loader with workers in {waits - in_process} of {plural(waits, 'wait')}",
            snippet="perfscope attach PID",
        ),
    ]
