"""The device waits for copies between host and device that computation does not overlap.

What it means
    Batches are copied to the device, results back to the host. On the stream of the computation, or
    before it can start, a copy adds to the step; on a stream of its own, one batch ahead, it costs
    nothing.

How it is detected
    The time in which a copy from or to the host, or to another device, runs and no kernel does is
    at least 3 % of the span. Copies within the device and memsets are part of the model's own work
    and not counted. Overlapping is recommended where the device computes for at least half as long
    as it copies. It saves at most the time in which the device computes.

What to do
    Copy the next batch while this one computes: `pin_memory=True` and `non_blocking=True`, on a
    stream of its own. Send less: uint8 images converted on the device, indices instead of one-hot
    vectors.

When it is wrong
    A single large copy at the start of a short trace loads the model and does not repeat in the
    loop.
"""

import msgspec
import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    ceiling,
    mean_per_step,
    missing_device,
    total,
)
from perfscope.analyzer.categories import DEVICE_COMPUTE, EXPOSED_COPY
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.idle_after_copies import idle_share_after_copies
from perfscope.analyzer.number_text import digits, megabytes, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, longest_row
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Spans, intersected
from perfscope.traces.trace import Trace

ID = "exposed-copy"
TO_HOST = "d2h"
PREFETCH = """copier = torch.cuda.Stream()
with torch.cuda.stream(copier):  # from pinned memory, before the step of the batch before
    following = following.to(device, non_blocking=True)
torch.cuda.current_stream().wait_stream(copier)  # before its own step"""
DIRECTIONS = {"h2d": "from the host", TO_HOST: "to the host", "p2p": "between devices"}
SHOWN_SHARE = 0.01
"""Directions with less than this share of the loss are not listed in the evidence."""
READ_LATER = Advice(
    id="read-results-later",
    text="read results later, from pinned memory",
    precondition="copies-to-host-are-exposed",
    holds_when="Copies to the host take most of the exposed copying.",
)
READ_LESS = Advice(
    id="read-fewer-results",
    text="read fewer results: every n-th step, reduced on the device first",
    precondition="copies-to-host-are-exposed",
    holds_when="Copies to the host take most of the exposed copying.",
)
PREFETCH_TO_DEVICE = Advice(
    id="prefetch-to-device",
    text="copy the next batch while this one computes, on a stream of its own",
    precondition="computation-can-hide-copies",
    holds_when="The device computes for at least half of the time of these copies.",
)
SEND_LESS = Advice(
    id="send-fewer-bytes",
    text="send less: keep the data on the device, convert images of uint8 there, use smaller types",
    precondition="copies-to-device-are-exposed",
    holds_when="Copies from the host or another device take most of the exposed copying.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs a device."""
    return missing_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the copies across the bus that computation does not overlap, when they cost enough."""
    case = case_of(trace, limits, EXPOSED_COPY)
    copies = rows_on(trace, "copies", case.unit)
    if copies is None:
        return None
    exposed = spans_of(case.of(EXPOSED_COPY))
    copies = copies[copies["direction"].isin(tuple(DIRECTIONS))]
    lost_ns = overlapped_ns(copies, exposed)
    share = lost_ns / case.span_ns
    if share < limits.worth_share:
        return None
    by_direction = {
        direction: overlapped_ns(copies[copies["direction"] == direction], exposed)
        for direction in DIRECTIONS
    }
    main = max(by_direction, key=lambda direction: by_direction[direction])
    actions = less_exposed_copying(case, copies, main, by_direction[main], limits)
    finding = case.finding(
        ID,
        lost_ns,
        limits,
        message=Message(
            f"Exposed copies: the device does nothing but copy {DIRECTIONS[main]} {percent(share)}"
            " of the time",
            "These copies do not overlap with computation.",
            "A GPU that computes faster would not help.",
        ),
        evidence=[
            longest_copy(case, copies[copies["direction"] == main]),
            exposed_per_step(case, copies, lost_ns, by_direction),
        ],
        actions=actions,
    )
    saved_ns = lost_ns
    if actions and actions[0].id == PREFETCH_TO_DEVICE.id:
        # Copies that overlap with computation still take their time.
        saved_ns = min(lost_ns, total(case.of(DEVICE_COMPUTE)))
    saved = saved_ns / case.span_ns + idle_share_after_copies(trace, limits, copies, exposed)
    return msgspec.structs.replace(finding, speedup=ceiling(saved))


def overlapped_ns(copies: pd.DataFrame, spans: Spans) -> int:
    """Return the nanoseconds of these spans in which one of these copies runs."""
    begin, end = intersected(spans_of(copies), spans)
    return int((end - begin).sum())


def longest_copy(case: Case, copies: pd.DataFrame) -> Evidence:
    """Return the longest of these copies, with its rate where its size is known."""
    worst = longest_row(copies)
    size, duration_ns = float(worst["bytes"]), int(worst["dur"])
    text = f"longest: {ms(duration_ns)}"
    if size >= 0 and duration_ns > 0:
        text += f" for {megabytes(size)}, {digits(size / duration_ns)} GB/s"
    return case.timed_evidence(text, worst, value_ns=duration_ns, lane="device")


def exposed_per_step(
    case: Case, copies: pd.DataFrame, lost_ns: int, by_direction: dict[str, int]
) -> Evidence:
    """Return the exposed and the whole copying per step, and the exposed by direction."""
    per = "per step" if case.steps else "in total"
    parts = ", ".join(
        f"{DIRECTIONS[direction]} {ms(mean_per_step(case, ns))}"
        for direction, ns in by_direction.items()
        if ns >= SHOWN_SHARE * lost_ns
    )
    step_ns, whole_ns = mean_per_step(case, lost_ns), mean_per_step(case, total(copies))
    text = f"{ms(step_ns)} {per} exposed of {ms(whole_ns)}: {parts}"
    return case.timed_evidence(text, value_ns=step_ns, lane="device")


def less_exposed_copying(
    case: Case, copies: pd.DataFrame, direction: str, exposed_ns: int, limits: Limits
) -> list[Action]:
    """Return the changes that fit the direction with most exposed copying."""
    rows = copies[copies["direction"] == direction]
    exposed = f"{ms(exposed_ns)} exposed in {plural(float(len(rows)), 'transfer')}"
    to_host = direction == TO_HOST
    computing_ns = total(case.of(DEVICE_COMPUTE))
    moved = float(np.maximum(column(rows, "bytes"), 0).sum())
    return [
        *READ_LATER.given(
            to_host, exposed, snippet="host.copy_(x, non_blocking=True); event.record()"
        ),
        *READ_LESS.given(to_host, exposed),
        *PREFETCH_TO_DEVICE.given(
            not to_host and computing_ns >= limits.main_cause_share * exposed_ns,
            f"the device computes {ms(computing_ns)}, {exposed}",
            snippet=PREFETCH,
        ),
        *SEND_LESS.given(not to_host, f"{exposed}, {megabytes(moved)}"),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=EXPOSED_COPY,
    in_windows=True,
    advice=(READ_LATER, READ_LESS, PREFETCH_TO_DEVICE, SEND_LESS),
)
