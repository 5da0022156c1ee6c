"""The device waits for copies between host and device that no computation hides.

What it means
    Batches go to the device, results come back. On the stream of the computation, or before it can
    start, a copy adds to the step; on a stream of its own, one batch ahead, it costs nothing.

How it is detected
    The time in which a copy from or to the host, or to another device, runs and no kernel does, at
    least 3 % of the span. Copies within the device and memsets are part of the model's own work and
    not counted.

What to do
    Copy the next batch while this one computes: `pin_memory=True` and `non_blocking=True`, on a
    stream of its own. Send less: uint8 images converted on the device, indices in place of one-hot
    vectors.

When it is wrong
    A single large copy at the start of a short trace is loading and not the loop's.
"""

import pandas as pd

from perfscope.analyzer.budget.trace_case import Case, a_step, case_of, no_device, total
from perfscope.analyzer.categories import EXPOSED_COPY
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import longest
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Spans, intersected
from perfscope.traces.trace import Trace

ID = "exposed-copy"
ACROSS = ("h2d", "d2h", "p2p")
NAMES = {"h2d": "from the host", "d2h": "to the host", "p2p": "between devices"}


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device."""
    return no_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Copies across the bus that nothing hides, when they cost enough."""
    case = case_of(trace, limits)
    copies = rows_on(trace, "copies", case.unit)
    if copies is None:
        return None
    exposed = spans_of(case.of(EXPOSED_COPY))
    across = copies[copies["direction"].isin(ACROSS)]
    lost = overlapped(across, exposed)
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    by_way = {way: overlapped(across[across["direction"] == way], exposed) for way in ACROSS}
    way = max(by_way, key=lambda name: by_way[name])
    worst = longest(across[across["direction"] == way])
    each = "a step" if case.steps else "in all"
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Exposed copies: the device only copies {NAMES[way]} {percent(share)} of the time",
            "These copies do not overlap with computation.",
            "A faster GPU would not help: overlap the copy with computation.",
        ),
        evidence=[
            case.place(_longest(worst), worst, value_ns=int(worst["dur"]), lane="device"),
            case.place(
                f"{ms(a_step(case, lost))} {each} exposed of {ms(a_step(case, total(across)))}: "
                + ", ".join(
                    f"{NAMES[name]} {ms(a_step(case, ns))}"
                    for name, ns in by_way.items()
                    if ns >= 0.01 * lost
                ),
                value_ns=a_step(case, lost),
                lane="device",
            ),
        ],
        actions=_actions(case, way),
    )


def overlapped(copies: pd.DataFrame, spans: Spans) -> int:
    """Nanoseconds of these spans in which one of these copies runs."""
    both = intersected(spans_of(copies), spans)
    return int((both[1] - both[0]).sum())


def _longest(row: "pd.Series[int]") -> str:
    size, dur = float(row["bytes"]), int(row["dur"])
    text = f"longest: {ms(dur)}"
    return (
        text if size < 0 or dur <= 0 else f"{text} for {megabytes(size)}, {digits(size / dur)} GB/s"
    )


def _actions(case: Case, way: str) -> list[Action]:
    if way == "d2h":
        return [
            Action(
                "read results later, from pinned memory",
                "host.copy_(x, non_blocking=True); event.record()",
            ),
            Action("or read fewer: every n-th step, reduced on the device first"),
        ]
    return [
        Action(
            "copy the next batch while this one computes, on a stream of its own",
            "with torch.cuda.stream(copier): batch = batch.to(device, non_blocking=True)  # of"
            " pinned memory",
        ),
        Action("or send less: uint8 images converted on the device, smaller types"),
    ]


RULE = Rule(ID, not_applicable, detect, category=EXPOSED_COPY)
