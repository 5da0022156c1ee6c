"""Products run in a wide type although the device is faster in a narrower one.

What it means
    Arithmetic units do two operations in float32 in the time of one in float64, and with matrix
    units many more in TF32 or bfloat16. The products of this run use a wide type that training
    rarely needs. float64 is mostly an accident: numpy's default.

How it is detected
    Products, convolutions and attention by type (from shapes and types of operators). float64
    against float32: on every device at least twice as fast, and half the bytes. float32 against
    TF32 or bfloat16: where the device's peaks (or the CPU's calibration) say it is at least 1.3
    times as fast, and on a GPU the kernels' names say that float32 units did it; calls that stay
    below a fifth of the roof are left out. What the faster type would save of such calls at most is
    at least 3 % of the step.

What to do
    float64: make the data float32 where they come in. float32: `torch.autocast(...,
    dtype=torch.bfloat16)`, or on a GPU allow TF32 with
    `torch.set_float32_matmul_precision("high")`.

When it is wrong
    Where the wide type is needed: solvers, statistics over many values, some losses. Calls that are
    limited by memory gain less: the ceiling is told.
"""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.compute.call_costs import device_work
from perfscope.analyzer.compute.compute_case import NO_SHARE, WorkCase, no_work, work_case
from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.run.units import NO_DEVICE
from perfscope.traces.trace import Trace

ID = "reduced-precision-unused"
TWICE = 2.0
NARROWER = ("tf32", "bfloat16", "float16")
# Kernels of products that run in the units of float32: `sgemm`, CUTLASS's simt; "tf32" and
# "tensorop" are the matrix units'.
PLAIN_UNITS = re.compile(r"sgemm|simt|ffma|f32f32_f32f32|_SB_|gemmSN|gemv", re.IGNORECASE)
MATRIX_UNITS = re.compile(r"tf32|tensorop|s1688|s161616|xf32", re.IGNORECASE)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs operators with shapes."""
    return no_work(trace) or (NO_SHARE if work_case(trace, limits) is None else None)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """What the narrower type would save at most, when it is enough."""
    case = work_case(trace, limits)
    if case is None:
        return None
    for wide in ("float64", "float32"):
        calls = case.calls[case.calls["matrix"] & (case.calls["dtype"] == wide)]
        narrow, ratio = faster(case, wide)
        if wide == "float32" and case.unit.device != NO_DEVICE and len(calls):
            calls = calls[in_plain_units(trace, calls)]
        if wide == "float32":
            calls = calls[near_their_roof(case, calls, limits)]
        if ratio < limits.faster_type or not len(calls):
            continue
        taken = float(calls["work_ns"].sum())
        most = case.share(taken)
        # float64 runs through everything else too, which moves twice the bytes it needs to: perhaps
        # through what has no cost
        if wide == "float64":
            others = case.calls[~case.calls["matrix"] & (case.calls["dtype"] == wide)]
            taken += float(others["work_ns"].sum())
            most = 1.0 - case.share(float(case.calls[case.calls["dtype"] != wide]["work_ns"].sum()))
        if case.share(taken * (1.0 - 1.0 / ratio)) >= limits.worth_share:
            return told(case, limits, wide, narrow, ratio, taken, most, calls)
    return None


def told(
    case: WorkCase,
    limits: Limits,
    wide: str,
    narrow: str,
    ratio: float,
    taken: float,
    most: float,
    calls: pd.DataFrame,
) -> Finding:
    spared = 1.0 - 1.0 / ratio
    message = Message(
        f"Reduced precision unused: work in {wide} takes {percent(case.share(taken))} of the time",
        f"{case.top(calls)}. {narrow} is {digits(ratio)} times as fast on this device and would"
        f" save at most {percent(most * spared)} of the time.",
    )
    how = (
        "known of every device"
        if wide == "float64"
        else f"peaks of {case.peaks.name}"
        if isinstance(case.peaks, Peaks)
        else ""
    )
    evidence = [
        Evidence(
            f"{narrow} against {wide}: {digits(ratio)} times the rate ({how})",
            round(ratio, 2),
            "times",
        )
    ]
    return case.finding(
        ID,
        taken * spared,
        limits,
        message=message,
        evidence=[*evidence, *case.blamed(calls)],
        actions=actions(case, wide, narrow),
        speedup=ceiling(most * spared),
    )


def faster(case: WorkCase, wide: str) -> tuple[str, float]:
    """The narrower type to use, and how many times the rate it has; 1 where that is not known."""
    if wide == "float64":
        return "float32", TWICE
    if not isinstance(case.peaks, Peaks):
        return "bfloat16", 1.0
    own = own_rate(case)
    rates = {one: case.peaks.matrix.get(one, 0.0) for one in NARROWER}
    best = next((one for one in NARROWER if rates[one] and own and rates[one] >= own), "bfloat16")
    return best, rates.get(best, 0.0) / own if own else 1.0


def own_rate(case: WorkCase) -> float | None:
    """FLOP/s of float32 without the narrower types' units; None where it is not known."""
    if not isinstance(case.peaks, Peaks):
        return None
    return (case.peaks.vector if case.unit.device != NO_DEVICE else case.peaks.matrix).get(
        "float32"
    )


def near_their_roof(case: WorkCase, calls: pd.DataFrame, limits: Limits) -> NDArray[np.bool_]:
    """Calls that reach a good part of what their type allows, or wait for memory: others are too
    small to gain from a faster type.
    """
    computing = calls["flops"].to_numpy(np.float64) / (own_rate(case) or np.inf) * 1e9
    least = np.where(
        calls["side"] == MEMORY, calls["attainable_ns"].to_numpy(np.float64), computing
    )
    near: NDArray[np.bool_] = least >= limits.near_roof * calls["work_ns"].to_numpy(np.float64)
    return near


def in_plain_units(trace: Trace, calls: pd.DataFrame) -> NDArray[np.bool_]:
    """Calls of which a kernel's name says that the units of float32 did it."""
    work, kernels = trace.fact(device_work), table(trace, "kernels")
    if kernels is None:
        return np.zeros(len(calls), bool)
    said = [
        bool(PLAIN_UNITS.search(one)) and not MATRIX_UNITS.search(one)
        for one in kernels["name"].cat.categories
    ]
    plain = np.array([*said, False], bool)[
        np.append(kernels["name"].cat.codes.to_numpy(), -1)[work.kernel]
    ]
    return np.isin(calls["op"].to_numpy(), work.op[plain & work.costed])


def actions(case: WorkCase, wide: str, narrow: str) -> list[Action]:
    if wide == "float64":
        return [
            Action(
                "convert inputs and model to float32 at the source",
                "inputs = inputs.float(); model.float()",
            ),
            Action("NumPy creates float64 by default; convert", "array.astype(np.float32)"),
        ]
    where = "cpu" if case.unit.device == NO_DEVICE else "cuda"
    found = [
        Action(
            "run matrix multiplications in bfloat16",
            f'torch.autocast("{where}", dtype=torch.bfloat16)',
        )
    ]
    if narrow == "tf32":
        found.insert(
            0,
            Action(
                "allow TF32 for float32 matrix multiplications",
                'torch.set_float32_matmul_precision("high")',
            ),
        )
    return found


RULE = Rule(ID, not_applicable, detect, is_chance=True)
