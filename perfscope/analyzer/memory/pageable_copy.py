"""Copies between host and device use pageable memory.

What it means
    The driver copies pageable memory into a pinned buffer first, piece by piece, and only then does
    the call return: the copy runs at a fraction of the link's rate, overlaps with nothing, and
    blocks the host. `non_blocking=True` has no effect on it.

How it is detected
    Copies that the trace marks as pageable. Their cost is the time in which such a copy runs, or
    its call blocks the host, while no kernel runs on the device; at least 3 % of the span. Without
    a profiling window, copies cost what the device's own clock measured around some of them.

What to do
    `pin_memory=True` in the loader (or `.pin_memory()` once for a buffer that is reused) together
    with `.to(device, non_blocking=True)`.

When it is wrong
    A read of a result to the host waits for the kernels before it: that wait is `host-sync` and not
    counted here. Small copies (below 64 KiB) are staged without waiting and cost little.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import critical_rank, severity_of, steps_of
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    ceiling,
    mean_per_step,
    missing_device,
    total,
)
from perfscope.analyzer.categories import EXPOSED_COPY, HOST_BOUND, OTHER_IDLE, SYNC_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.idle_after_copies import idle_share_after_copies
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.accelerators.device_window import window_trace
from perfscope.analyzer.run.accelerators.host_copies import host_copies
from perfscope.analyzer.run.table_access import column, longest_row, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Spans, inside, intersected, merged
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
    unmet = None if timed_copies(trace, limits) is not None else missing_device(trace)
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
    timed = timed_copies(trace, limits)
    if timed is not None:
        return finding_of_calls(timed, limits)
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
    finding = case.finding(
        ID,
        lost_ns,
        limits,
        message=pageable_message(share),
        evidence=pageable_evidence(case, pageable, lost_ns),
        actions=pin_memory(pageable),
    )
    saved = share + idle_share_after_copies(trace, limits, pageable, (begin, end))
    return msgspec.structs.replace(finding, speedup=ceiling(saved))


@dataclass(frozen=True)
class TimedCopies:
    """The copies of the critical process in its steady steps, without a profiling window.

    `copies` are calls of the host with `copy_ns` (`host_copies`), `exposed_ns` is the time of the
    steps that their category of the budget has.
    """

    process: int
    steps: pd.DataFrame
    copies: pd.DataFrame

    @property
    def exposed_ns(self) -> int:
        """The time of exposed copies in all steps."""
        return int(column(self.steps, EXPOSED_COPY).sum())


def timed_copies(trace: Trace, limits: Limits) -> TimedCopies | None:
    """Return the copies that the device timed, None with a profiling window and where none was."""
    process = None if trace.has_profiled_work else critical_rank(trace, limits)
    timed = table(trace, "device_times")
    if process is None or timed is None or trace.fact(window_trace) is not None:
        return None
    if not ((timed["call"] == "copy") & (timed["process"] == process)).any():
        return None
    rows, copies = steps_of(trace, process), host_copies(trace, process)
    if copies is None:
        return None
    return TimedCopies(process, rows, copies[inside(spans_of(rows), column(copies, "ts"))])


def finding_of_calls(timed: TimedCopies, limits: Limits) -> Finding | None:
    """Return the finding for copies that were only seen as calls, when they cost enough."""
    pageable = timed.copies[column(timed.copies, "pinned") == 0]
    in_all = max(int(column(timed.copies, "copy_ns").sum()), 1)
    lost_ns = timed.exposed_ns * int(column(pageable, "copy_ns").sum()) / in_all
    share = lost_ns / max(int(column(timed.steps, "dur").sum()), 1)
    if share < limits.worth_share:
        return None
    worst = pageable.iloc[int(np.argmax(column(pageable, "copy_ns")))]
    size, copy_ns = float(worst["bytes"]), float(worst["copy_ns"])
    text = f"longest: {ms(copy_ns)} for {megabytes(size)}, {digits(size / copy_ns)} GB/s"
    message = pageable_message(share)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        processes=[timed.process],
        lost_s=round(lost_ns / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=message.headline,
        explanation=message.explanation,
        caveat=message.caveat,
        evidence=[Evidence(text, value=round(copy_ns / 1e6, 4), unit="ms", process=timed.process)],
        actions=pin_memory(pageable),
    )


def pageable_message(share: float) -> Message:
    """Return what the finding claims."""
    return Message(
        f"Pageable copies: copies of memory that is not pinned take {percent(share)} of the time",
        "The device computes nothing meanwhile.",
        "`non_blocking=True` alone does not help: it needs pinned memory.",
    )


def pin_memory(pageable: pd.DataFrame) -> list[Action]:
    """Return the change that makes copies of pageable memory faster."""
    return PIN_MEMORY.given(
        len(pageable) > 0,
        f"{len(pageable)} copies of pageable memory",
        snippet="DataLoader(..., pin_memory=True); batch.to(device, non_blocking=True)",
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
