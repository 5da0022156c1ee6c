"""Copies between host and device use pageable memory.

What it means
    The driver copies pageable memory into a pinned buffer first, piece by piece, and only then does
    the call return: the copy runs at a fraction of the link's rate, overlaps with nothing, and
    blocks the host. `non_blocking=True` has no effect on it.

How it is detected
    Copies that the trace marks as pageable. Their cost is the time in which such a copy runs, or
    its call blocks the host, while no kernel runs on the device; at least 3 % of the span.

What to do
    `pin_memory=True` in the loader (or `.pin_memory()` once for a buffer that is reused) together
    with `.to(device, non_blocking=True)`.

When it is wrong
    A read of a result to the host waits for the kernels before it: that wait is `host-sync` and not
    counted here. Small copies (below 64 KiB) are staged without waiting and cost little.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import Case, case_of, mean_per_step, missing_device, total
from perfscope.analyzer.categories import EXPOSED_COPY, HOST_BOUND, OTHER_IDLE, SYNC_WAIT
from perfscope.analyzer.diagnosis import Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, longest_row, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Spans, intersected, merged
from perfscope.traces.trace import Trace

ID = "pageable-copy"
NOT_BUSY = (EXPOSED_COPY, HOST_BOUND, OTHER_IDLE, SYNC_WAIT)
BETWEEN_HOST_AND_DEVICE = ("h2d", "d2h")
NO_COPIES = Unmet("other", "no copy between host and device is in the trace")
UNKNOWN_MEMORY = Unmet(
    "not-in-this-format", "the trace does not say whether copies are of pinned memory"
)
PIN_MEMORY = Advice(
    id="pin-host-memory",
    text="pin the host's memory and copy without waiting",
    precondition="copies-are-pageable",
    holds_when="Copies of pageable memory were recorded.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no copy is marked as pinned or pageable."""
    unmet = missing_device(trace)
    if unmet is not None:
        return unmet
    copies = table(trace, "copies")
    if copies is None:
        return NO_COPIES
    between = copies[copies["direction"].isin(BETWEEN_HOST_AND_DEVICE)]
    if not len(between):
        return NO_COPIES
    return None if (column(between, "pinned") >= 0).any() else UNKNOWN_MEMORY


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the copies of pageable memory, when they cost enough."""
    case = case_of(trace, limits, EXPOSED_COPY)
    copies = rows_on(trace, "copies", case.unit)
    if copies is None:
        return None
    between = copies["direction"].isin(BETWEEN_HOST_AND_DEVICE).to_numpy(bool)
    pageable = copies[(column(copies, "pinned") == 0) & between]
    running = merged(spans_of(pageable), blocking_copy_calls(trace, pageable))
    begin, end = intersected(running, spans_of(case.of(*NOT_BUSY)))
    lost_ns = int((end - begin).sum())
    share = lost_ns / case.span_ns
    if share < limits.worth_share:
        return None
    return case.finding(
        ID,
        lost_ns,
        limits,
        message=Message(
            f"Pageable copies: copies of memory that is not pinned take {percent(share)} of the"
            " time",
            "The device computes nothing meanwhile.",
            "`non_blocking=True` alone does not help: it needs pinned memory.",
        ),
        evidence=pageable_evidence(case, pageable, lost_ns),
        actions=PIN_MEMORY.given(
            len(pageable) > 0,
            f"{len(pageable)} copies of pageable memory",
            snippet="DataLoader(..., pin_memory=True); batch.to(device, non_blocking=True)",
        ),
    )


def blocking_copy_calls(trace: Trace, pageable: pd.DataFrame) -> Spans:
    """Return the host's calls that started copies to the device, and block until they end."""
    to_device = pageable[(pageable["direction"] == "h2d") & (pageable["launch"] >= 0)]
    calls = table(trace, "launches")
    if calls is None or not len(to_device):
        return merged()
    return spans_of(calls.iloc[column(to_device, "launch")])


def pageable_evidence(case: Case, pageable: pd.DataFrame, lost_ns: int) -> list[Evidence]:
    """Return the longest copy, and the count, time and rate of all of them."""
    worst = longest_row(pageable)
    worst_ns = int(worst["dur"])
    rates = column(pageable, "bytes") / np.maximum(column(pageable, "dur"), 1)
    rate = digits(float(np.median(rates)))
    per = "per step" if case.steps else "in total"
    first = f"longest: {ms(worst_ns)} for {megabytes(float(worst['bytes']))}"
    copy_ns = mean_per_step(case, total(pageable))
    together = f"{len(pageable)} of them in total, {ms(copy_ns)} {per}, at {rate} GB/s"
    return [
        case.timed_evidence(first, worst, value_ns=worst_ns, lane="device"),
        case.timed_evidence(together, value_ns=mean_per_step(case, lost_ns), lane="device"),
    ]


RULE = Rule(
    ID, not_applicable, detect, category=EXPOSED_COPY, in_windows=True, advice=(PIN_MEMORY,)
)
