"""Arithmetic limits the operators, and they are far from what the device can do.

What it means
    Products, convolutions and attention do so much arithmetic for each byte that only its rate
    matters. These run well below the rate that good code reaches on this device: their shapes or
    types do not suit it.

How it is detected
    FLOPs and bytes of each call from its shapes (docs/roofline.md); arithmetic is the nearer roof.
    What such calls take beyond the time that good code needs (half of the data sheet's rate, 60 %
    of a measured one) is what it costs; at least 3 % of the step. The most to be had back is what
    they take beyond the roof itself, at which a run is healthy, bound by compute; on a CPU
    something for caches that calm down, and all other work in whole numbers where these are. While
    attached to a device with GPM the activity of its pipes, of its memory and of its SMs stands
    beside it.

What to do
    Sizes that are multiples of 8 (16 bits) or 64; one large product instead of many small ones; a
    larger batch; `channels_last` for convolutions; types for which there is fast code: bfloat16,
    TF32, or float32 instead of whole numbers.

When it is wrong
    Small products cannot fill a large device, whatever their type: then only more work at once
    helps. Peaks are those of whole devices at full clocks. On a CPU it needs `perfscope doctor
    --calibrate`.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.compute import counter_evidence
from perfscope.analyzer.compute.compute_case import NO_SHARE, WorkCase, no_work, work_case
from perfscope.analyzer.compute.roofline import COMPUTE
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import operations, percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "compute-bound"
WHOLE_NUMBERS = ("int64", "int32", "int16")


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs operators with shapes, and roofs."""
    reason = no_work(trace)
    case = work_case(trace, limits) if reason is None else None
    if case is None:
        return reason or NO_SHARE
    return case.peaks if isinstance(case.peaks, str) else None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """What products take beyond what good code would, when it is enough."""
    case = work_case(trace, limits)
    if case is None or not isinstance(case.peaks, Peaks):
        return None
    calls = case.calls[
        (case.calls["side"] == COMPUTE) & (case.calls["roof_share"] < case.calls["reached"])
    ]
    lost = float((calls["work_ns"] - calls["attainable_ns"] / calls["reached"]).sum())
    if case.share(lost) < limits.worth_share:
        return None
    seconds = float(calls["work_ns"].sum()) / 1e9
    reached = float(calls["attainable_ns"].sum() / calls["work_ns"].sum())
    taken = case.share(float(calls["work_ns"].sum()))
    message = Message(
        f"Compute-bound: arithmetic takes {percent(taken)} of the time, at {percent(reached)} of"
        " peak",
        f"{case.top(calls)}: {operations(float(calls['flops'].sum()) / seconds)}/s on"
        f" {case.peaks.name}. A well-tuned implementation would save {percent(case.share(lost))} of"
        " the time.",
        "Faster memory would not help.",
    )
    found = case.finding(
        ID,
        lost,
        limits,
        message=message,
        evidence=evidence(case, calls),
        actions=actions(case, calls),
        speedup=most(case, calls, limits),
    )
    return counter_evidence.beside(found, trace, "compute")


def in_whole_numbers(calls: pd.DataFrame) -> bool:
    """Is at least half of the time of these calls arithmetic of whole numbers?"""
    whole = calls["dtype"].isin(WHOLE_NUMBERS)
    return float(calls[whole]["work_ns"].sum()) >= 0.5 * float(calls["work_ns"].sum())


def most(case: WorkCase, calls: pd.DataFrame, limits: Limits) -> Speedup:
    """The ceiling: these calls at their roof; where they compute in whole numbers, nothing else
    done in them either.
    """
    spared = float((calls["work_ns"] - calls["attainable_ns"]).sum())
    if in_whole_numbers(calls):
        others = case.calls[
            case.calls["dtype"].isin(WHOLE_NUMBERS) & ~case.calls.index.isin(calls.index)
        ]
        spared += float(others["work_ns"].sum())
    return case.ceiling(spared, limits)


def evidence(case: WorkCase, calls: pd.DataFrame) -> list[Evidence]:
    sums = (
        calls.groupby(["name", "shapes", "dtype"], sort=False)[["work_ns", "attainable_ns"]]
        .sum()
        .reset_index()
    )
    worst = sums.iloc[int(np.argmax(sums["work_ns"].to_numpy()))]
    short = "".join(str(worst["shapes"]).split())[:80]
    reached = percent(float(worst["attainable_ns"] / worst["work_ns"]))
    text = (
        f"`{str(worst['name']).removeprefix('aten::')}` of {worst['dtype']}, {short}: {reached} of"
        " its roof"
    )
    return [case.place(text, ns=float(worst["work_ns"])), *case.blamed(calls)]


def actions(case: WorkCase, calls: pd.DataFrame) -> list[Action]:
    """By what the calls are."""
    found = []
    if in_whole_numbers(calls):
        found.append(
            Action(
                "multiply in float32, which has fast code (whole numbers below 2^24 stay exact)",
                "a.float() @ b.float()",
            )
        )
    if calls["family"].eq("convolutions").any():
        found.append(
            Action(
                "give convolutions the layout they are fastest in",
                "model.to(memory_format=torch.channels_last)",
            )
        )
    found.append(
        Action(
            "make products larger: one batched instead of many, a larger batch, sizes that are"
            " multiples of 64"
        )
    )
    return found


RULE = Rule(ID, not_applicable, detect)
