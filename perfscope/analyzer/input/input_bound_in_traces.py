"""`input-bound` in a recorded trace: waits for PyTorch's loader that left the device (or, without
one, the thread) idle.
"""

import pandas as pd

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.trace_case import Case, a_step, case_of, ceiling, total
from perfscope.analyzer.categories import INPUT_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.run.table_access import column, longest, rows_of, table
from perfscope.analyzer.run.units import NO_DEVICE
from perfscope.traces.trace import Trace

NO_LOADER = (
    "no loader of PyTorch's was asked; another's cannot be told from other Python code in a trace"
)


def not_applicable(trace: Trace) -> str | None:
    """Needs waits for a loader in the trace. Time in unknown code between steps is no evidence of
    one.
    """
    loader = table(trace, "loader")
    return None if loader is not None and len(loader) else NO_LOADER


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The waits that nothing hides, when they are enough."""
    case = case_of(trace, limits)
    waits = case.of(INPUT_WAIT)
    lost = total(waits)
    share = lost / case.span_ns
    if share < limits.input_share:
        return None
    asked = rows_of(trace, "loader", case.unit.process)
    assert asked is not None
    alone = bool((column(asked, "workers") == 0).all())
    hidden = total(asked) - lost
    what = "the device is idle" if case.unit.device != NO_DEVICE else "the run waits"
    behind = (
        f" Another {ms(hidden)} of waiting overlaps with queued work and costs nothing."
        if hidden > lost / 10
        else ""
    )
    why = " It loads batches in the training process itself." if alone else ""
    return Finding(
        id="input-bound",
        cause="in-process-loading" if alone else None,
        severity=severity_of(share, limits),
        rank=case.unit.rank,
        lost_s=round(lost / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=f"Input-bound: {what} {percent(share)} of the time",
        explanation=f"The host waits for its next batch meanwhile.{why}{behind}",
        caveat="A faster GPU would wait longer.",
        evidence=_evidence(case, waits, asked),
        actions=_actions(alone),
    )


def _evidence(case: Case, waits: pd.DataFrame, asked: pd.DataFrame) -> list[Evidence]:
    worst = longest(waits)
    each = "a step" if case.steps else "in all"
    return [
        case.place(
            f"longest wait that nothing hides: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="loader",
        ),
        case.place(
            f"{ms(a_step(case, total(waits)))} {each}, in {plural(len(asked), 'wait')}",
            value_ns=a_step(case, total(waits)),
            lane="loader",
        ),
    ]


def _actions(alone: bool) -> list[Action]:
    if alone:
        return [
            Action(
                "make batches in worker processes",
                "DataLoader(..., num_workers=4, persistent_workers=True)",
            )
        ]
    return [
        Action(
            "see what the workers do, and how many the cores carry: attach to the run",
            "perfscope attach PID",
        ),
    ]
