"""Arithmetic limits the operators, and they run far below what the device can do.

What it means
    Matrix multiplications, convolutions and attention do so much arithmetic per byte that only the
    arithmetic rate matters. These run well below the rate that a good implementation reaches on
    this device: their shapes or types do not suit it.

How it is detected
    FLOPs and bytes of each call follow from its shapes (docs/roofline.md), and arithmetic is the
    lower roof. The loss is the time beyond what a good implementation takes (half of the data
    sheet's rate, 60 % of a measured one); it is at least 3 % of the step. The ceiling of the
    speedup is the time beyond the roof itself: at the roof a run is healthy and bound by compute.
    On a CPU the ceiling also includes what the other operators gain when the caches are used less.
    Where the calls compute with integers, it includes all other integer work. While attached to a
    device with GPM the activity of its pipes, its memory and its SMs is listed as evidence.

What to do
    Use sizes that are multiples of 8 (16-bit types) or 64, one large matrix multiplication instead
    of many small ones, a larger batch, `channels_last` for convolutions, and types with fast
    kernels: bfloat16, TF32, or float32 instead of integers.

When it is wrong
    Small matrix multiplications cannot fill a large device, whatever their type: only more work at
    once helps. Peaks are those of whole devices at full clocks. On a CPU it needs `perfscope doctor
    --calibrate`.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.compute import counter_evidence
from perfscope.analyzer.compute.compute_case import WorkCase, no_work_case, work_case
from perfscope.analyzer.compute.precision_advice import CHANNELS_LAST, channels_last_actions
from perfscope.analyzer.compute.roofline import COMPUTE
from perfscope.analyzer.compute.work_lines import line_of_work
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import operations, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "compute-bound"
INTEGERS = ("int64", "int32", "int16")
LONGEST_SHAPES = 80
USE_FLOAT32 = Advice(
    id="multiply-in-float32",
    text="multiply in float32, which has fast kernels (integers below 2^24 stay exact)",
    precondition="multiplies-integers",
    holds_when="At least half of the time of these calls multiplies integers.",
)
LARGER_PRODUCTS = Advice(
    id="make-products-larger",
    text=(
        "make matrix multiplications larger: one batched instead of many, a larger batch, sizes"
        " that are multiples of 64"
    ),
    precondition="products-below-peak",
    holds_when="The calls that arithmetic limits reach less of the peak than good code does.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs operators with shapes, and device peaks."""
    unmet = no_work_case(trace, limits)
    case = work_case(trace, limits) if unmet is None else None
    if case is None or isinstance(case.peaks, Peaks):
        return unmet
    return Unmet("not-calibrated" if case.is_cpu else "other", case.peaks)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return what the calls take beyond a good implementation, when it is enough."""
    case = work_case(trace, limits)
    if case is None or not isinstance(case.peaks, Peaks):
        return None
    is_slow = (case.calls["side"] == COMPUTE) & (case.calls["roof_share"] < case.calls["reached"])
    calls = case.calls[is_slow]
    lost_ns = float((calls["work_ns"] - calls["attainable_ns"] / calls["reached"]).sum())
    if case.share(lost_ns) < limits.worth_share:
        return None
    work_ns = float(calls["work_ns"].sum())
    reached = float(calls["attainable_ns"].sum() / work_ns)
    rate = float(calls["flops"].sum()) / (work_ns / 1e9)
    message = Message(
        f"Compute-bound: arithmetic takes {percent(case.share(work_ns))} of the time, at"
        f" {percent(reached)} of peak",
        f"Of these {percent(case.share(work_ns))}: {case.top_operators(calls)}. They reach"
        f" {operations(rate)}/s on {case.peaks.name}. A well-tuned implementation would save"
        f" {percent(case.share(lost_ns))} of the time; the upper bound is for the peak itself.",
        "Faster memory would not make them faster.",
    )
    finding = case.finding(
        ID,
        lost_ns,
        limits,
        message=message,
        evidence=slow_calls_evidence(case, calls),
        actions=faster_arithmetic(case, calls, reached),
        speedup=speedup_at_roof(case, calls, limits),
    )
    return counter_evidence.with_counter_evidence(finding, trace, "compute")


def integer_share(calls: pd.DataFrame) -> float:
    """Return the share of the time of these calls that is integer arithmetic."""
    of_integers = calls["dtype"].isin(INTEGERS)
    return float(calls[of_integers]["work_ns"].sum()) / max(float(calls["work_ns"].sum()), 1.0)


def speedup_at_roof(case: WorkCase, calls: pd.DataFrame, limits: Limits) -> Speedup:
    """Return the ceiling: these calls at their roof.

    Where they compute with integers, all other integer work is saved as well.
    """
    spared_ns = float((calls["work_ns"] - calls["attainable_ns"]).sum())
    if integer_share(calls) >= limits.main_cause_share:
        of_integers = case.calls["dtype"].isin(INTEGERS)
        others = case.calls[of_integers & ~case.calls.index.isin(calls.index)]
        spared_ns += float(others["work_ns"].sum())
    return case.ceiling(spared_ns, limits)


def slow_calls_evidence(case: WorkCase, calls: pd.DataFrame) -> list[Evidence]:
    """Return the shape that takes most time, and where the calls come from."""
    groups = calls.groupby(["name", "shapes", "dtype"], sort=False)
    sums = groups[["work_ns", "attainable_ns"]].sum().reset_index()
    worst = sums.iloc[int(np.argmax(sums["work_ns"].to_numpy()))]
    name = str(worst["name"]).removeprefix("aten::")
    shapes = "".join(str(worst["shapes"]).split())[:LONGEST_SHAPES]
    reached = percent(float(worst["attainable_ns"] / worst["work_ns"]))
    text = f"`{name}` of {worst['dtype']}, {shapes}: {reached} of its roof"
    return [case.timed_evidence(text, ns=float(worst["work_ns"])), *case.origin_evidence(calls)]


def faster_arithmetic(case: WorkCase, calls: pd.DataFrame, reached: float) -> list[Action]:
    """Return the changes that fit these calls."""
    of_integers = integer_share(calls)
    return [
        *USE_FLOAT32.given(
            of_integers >= 0.5,
            f"integers take {percent(of_integers)} of the time of these calls",
            snippet="a.float() @ b.float()",
        ),
        *channels_last_actions(case, calls),
        *LARGER_PRODUCTS.given(reached < 1.0, f"they reach {percent(reached)} of the peak"),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    where=line_of_work,
    advice=(USE_FLOAT32, CHANNELS_LAST, LARGER_PRODUCTS),
    color="device-compute",
)
