"""The host waits for the device in the middle of a step, so that the device runs dry afterwards.

What it means
    `.item()`, `.cpu()`, boolean masks and `synchronize()` wait until the device has done everything
    queued; until the host has queued new work, the device is idle.

How it is detected
    Only with device timing: the device's idle time inside synchronising calls (and copies whose
    call returns only when they are done) and behind them, up to the first new work; at least 3 % of
    the span. A wait after which nothing more was launched is the end of the recording and left out.
    Host timers alone cannot tell, since the wait is where the device's work is being done.

What to do
    Read losses every n-th step, keep counters and conditions on the device, copy with
    `non_blocking=True` into pinned memory and read later. The finding names the operator, and the
    Python function where stacks were recorded.

When it is wrong
    A server that waits for its next request inside a synchronising call looks alike, if its device
    has nothing to do. Without the wait the host may turn out to be late all the same: the gain is a
    ceiling.
"""

import re

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.trace_case import (
    Case,
    a_step,
    case_of,
    largest,
    module_names,
    no_device,
    op_names,
    total,
)
from perfscope.analyzer.categories import SYNC_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.host.python_places import innermost_functions
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import column, longest, table
from perfscope.traces.trace import Trace

ID = "host-sync"

# The first pattern that fits the operators or the call decides what to do.
ACTIONS = (
    (
        r"aten::(item|_local_scalar_dense|is_nonzero|equal)",
        (
            "a tensor becomes a Python number (`.item()`, `float()`, `if tensor:`): keep it on the"
            " device, read it every n-th step"
        ),
        "total += loss.detach()  # and total.item() once in a hundred steps",
    ),
    (
        r"aten::(nonzero|masked_select|unique|_unique|index)",
        (
            "the size of a result depends on values (boolean mask, `nonzero`, `unique`): use a"
            " fixed size"
        ),
        "torch.where(mask, x, 0)  # in place of x[mask]",
    ),
    (
        r"aten::(copy_|_to_copy|to|cpu)|[Mm]emcpy",
        (
            "a copy to or from the host that waits: pinned memory on the host's side, and read it"
            " later"
        ),
        (
            "host = x.to('cpu', non_blocking=True); event.record()  # event.synchronize() when it"
            " is needed"
        ),
    ),
    (
        r"Synchronize|synchronize",
        "a call of synchronize() in the loop: take it out, and time with events in its place",
        "start = torch.cuda.Event(enable_timing=True)  # in place of torch.cuda.synchronize()",
    ),
)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device."""
    return no_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Idle time inside and behind synchronising calls, when it is enough."""
    case = case_of(trace, limits)
    waits = case.of(SYNC_WAIT)
    waits = waits[(column(waits, "call") >= 0) & (column(waits, "launch") >= 0)]
    lost = total(waits)
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    calls = table(trace, "launches")
    assert calls is not None
    rows = column(waits, "call")
    dur = column(waits, "dur")
    spelled = calls["name"].to_numpy(object)
    inner = op_names(trace, rows, outermost=False)
    named = [
        f"{op} ({spelled[row]})" if op else str(spelled[row])
        for op, row in zip(inner, rows, strict=True)
    ]
    top = largest(named, dur)
    action = next(
        Action(text, snippet)
        for pattern, text, snippet in (*ACTIONS, ANY)
        if re.search(pattern, top[0][0])
    )
    count = len(np.unique(rows))
    often = how_often(count, case.steps)
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Host sync: synchronizing calls leave the device idle {percent(share)} of the time",
            f"The host waits for the device {often}, mostly in {top[0][0]}, and launches no work"
            " meanwhile.",
            "The call is slow because it waits for everything queued before it; the fix is not to"
            " wait at all.",
        ),
        evidence=_evidence(case, waits, top),
        actions=[action],
    )


def how_often(count: int, steps: int) -> str:
    """`once a step`, `3.5 times a step`, `12 times` where no steps are known."""
    if not steps:
        return plural(count, "time")
    return "once a step" if count == steps else f"{digits(count / steps)} times a step"


ANY = ("", "take the call out of the loop, or make it every n-th step", None)


def _evidence(case: Case, waits: pd.DataFrame, top: list[tuple[str, int]]) -> list[Evidence]:
    worst, lost = longest(waits), total(waits)
    each = " of each step" if case.steps else ""
    found = [
        case.place(
            f"longest idle time at such a call: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="device",
        ),
        case.place(
            f"{ms(a_step(case, lost))}{each}: "
            + ", ".join(f"{name} {percent(ns / lost)}" for name, ns in top),
            value_ns=a_step(case, lost),
            lane="host",
        ),
    ]
    calls, dur = column(waits, "call"), column(waits, "dur")
    for names, what in (
        (innermost_functions(case.trace, calls), "called from"),
        (module_names(case.trace, calls), "in module"),
    ):
        places = largest(names, dur, 2)
        if places:
            found.append(
                case.place(
                    f"{what} {', '.join(name for name, _ in places)}",
                    value_ns=places[0][1],
                    lane="host",
                )
            )
    return found


RULE = Rule(ID, not_applicable, detect, category=SYNC_WAIT)
