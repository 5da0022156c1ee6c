"""Copies between host and device go through pageable memory.

What it means
    The driver copies pageable memory into a pinned buffer first, piece by piece, and the call
    returns only then: the copy runs at a fraction of the link's rate, overlaps with nothing, and
    holds the host up. `non_blocking=True` has no effect on it.

How it is detected
    Copies that the trace says are of pageable memory. Their cost is the time in which such a copy
    runs, or its call holds the host, while no kernel runs on the device; at least 3 % of the span.

What to do
    `pin_memory=True` in the loader (or `.pin_memory()` once for a buffer that is used again)
    together with `.to(device, non_blocking=True)`.

When it is wrong
    A read of a result to the host waits for the kernels before it: that wait is `host-sync` and not
    counted here. Small copies (below 64 KiB) are staged without waiting and cost little.
"""

import numpy as np

from perfscope.analyzer.budget.trace_case import a_step, case_of, no_device, total
from perfscope.analyzer.categories import EXPOSED_COPY, HOST_BOUND, OTHER_IDLE, SYNC_WAIT
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, longest, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import intersected, merged
from perfscope.traces.trace import Trace

ID = "pageable-copy"
NOT_BUSY = (EXPOSED_COPY, HOST_BOUND, OTHER_IDLE, SYNC_WAIT)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs copies that say what memory they are of."""
    missing = no_device(trace)
    if missing is not None:
        return missing
    copies = table(trace, "copies")
    across = None if copies is None else copies[copies["direction"].isin(("h2d", "d2h"))]
    if across is None or not len(across):
        return "no copy between host and device is in the trace"
    return (
        None
        if (column(across, "pinned") >= 0).any()
        else "the trace does not say whether copies are of pinned memory"
    )


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Copies of pageable memory to the device, and from it, when they cost enough."""
    case = case_of(trace, limits)
    copies = rows_on(trace, "copies", case.unit)
    if copies is None:
        return None
    pageable = copies[
        (column(copies, "pinned") == 0) & copies["direction"].isin(("h2d", "d2h")).to_numpy()
    ]
    sent = pageable[(pageable["direction"] == "h2d") & (pageable["launch"] >= 0)]
    calls = table(trace, "launches")
    held = merged()
    if calls is not None and len(sent):
        held = spans_of(calls.iloc[column(sent, "launch")])
    cost = intersected(merged(spans_of(pageable), held), spans_of(case.of(*NOT_BUSY)))
    lost = int((cost[1] - cost[0]).sum())
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    worst = longest(pageable)
    rates = column(pageable, "bytes") / np.maximum(column(pageable, "dur"), 1)
    each = "a step" if case.steps else "in all"
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Pageable copies: copies of memory that is not pinned take {percent(share)} of the"
            " time",
            "The device computes nothing meanwhile.",
            "`non_blocking=True` alone does not help: it needs pinned memory.",
        ),
        evidence=[
            case.place(
                f"longest: {ms(int(worst['dur']))} for {megabytes(float(worst['bytes']))}",
                worst,
                value_ns=int(worst["dur"]),
                lane="device",
            ),
            case.place(
                f"{len(pageable)} of them in all, {ms(a_step(case, total(pageable)))} {each}, "
                f"at {digits(float(np.median(rates)))} GB/s",
                value_ns=a_step(case, lost),
                lane="device",
            ),
        ],
        actions=[
            Action(
                "pin the host's side and copy without waiting",
                "DataLoader(..., pin_memory=True); batch.to(device, non_blocking=True)",
            ),
        ],
    )


RULE = Rule(ID, not_applicable, detect, category=EXPOSED_COPY)
