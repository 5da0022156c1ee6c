"""Matrix multiplications run in a wide type although the device is faster in a narrower one.

What it means
    Arithmetic units do two operations in float32 in the time of one in float64, and matrix units
    many more in TF32 or bfloat16. This run multiplies in a wide type that training rarely needs.
    float64 is mostly an accident: it is numpy's default.

How it is detected
    Matrix multiplications, convolutions and attention by type (from shapes and types of operators).
    float64 against float32: at least twice as fast on every device, and half the bytes. float32
    against TF32 or bfloat16: where the device's peaks (or the CPU's calibration) are at least 1.3
    times as high, and on a GPU the kernels' names show that float32 units did the work. Calls below
    one fifth of the roof are not counted. The most that the faster type would save is at least 3 %
    of the step.

What to do
    float64: convert the data to float32 where they are loaded. float32: `torch.autocast(...,
    dtype=torch.bfloat16)`, or on a GPU allow TF32 with
    `torch.set_float32_matmul_precision("high")`.

When it is wrong
    Some computations need the wide type: solvers, statistics over many values, some losses. Calls
    that memory limits gain less: the speedup is a ceiling.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.lines.finding_lines import line_in_loop
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.compute.call_costs import device_work
from perfscope.analyzer.compute.compute_case import WorkCase, no_work_case, work_case
from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

ID = "reduced-precision-unused"
FLOAT32_OVER_FLOAT64 = 2.0
"""The least by which every device is faster in float32 than in float64."""
NARROWER = ("tf32", "bfloat16", "float16")
# Kernels that multiply in float32 units: `sgemm`, CUTLASS's simt.
FLOAT32_UNITS = re.compile(r"sgemm|simt|ffma|f32f32_f32f32|_SB_|gemmSN|gemv", re.IGNORECASE)
MATRIX_UNITS = re.compile(r"tf32|tensorop|s1688|s161616|xf32", re.IGNORECASE)
ALLOW_TF32 = Advice(
    id="allow-tf32",
    text="allow TF32 for float32 matrix multiplications",
    precondition="device-has-tf32",
    holds_when="The device is known to have TF32 units (NVIDIA Ampere and newer).",
)
USE_BFLOAT16 = Advice(
    id="multiply-in-bfloat16",
    text="run matrix multiplications in bfloat16",
    precondition="device-faster-in-bfloat16",
    holds_when="The device is known to multiply faster in bfloat16 than in float32.",
)
CONVERT_TO_FLOAT32 = Advice(
    id="convert-to-float32",
    text="convert inputs and model to float32 at the source",
    precondition="multiplies-float64",
    holds_when="Matrix multiplications in float64 were recorded.",
)
CONVERT_NUMPY_ARRAYS = Advice(
    id="convert-numpy-arrays",
    text="convert NumPy arrays, which are float64 by default",
    precondition="multiplies-float64",
    holds_when="Matrix multiplications in float64 were recorded.",
)

not_applicable = no_work_case


@dataclass(frozen=True)
class NarrowerType:
    """A wide type in use, the faster type to use instead, and by how much it is faster."""

    wide: str
    narrow: str
    speed_ratio: float

    @property
    def spared(self) -> float:
        """The share of the calls' time that the faster type saves at most."""
        return 1.0 - 1.0 / self.speed_ratio


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return what the narrower type would save at most, when it is enough."""
    case = work_case(trace, limits)
    if case is None:
        return None
    return float64_finding(case, limits) or float32_finding(trace, case, limits)


def float64_finding(case: WorkCase, limits: Limits) -> Finding | None:
    """Return the finding about float64, which also doubles the bytes of all other operators."""
    is_float64 = case.calls["dtype"] == "float64"
    calls = case.calls[case.calls["matrix"] & is_float64]
    if not len(calls):
        return None
    choice = NarrowerType("float64", "float32", FLOAT32_OVER_FLOAT64)
    taken_ns = float(case.calls[is_float64]["work_ns"].sum())
    # Work without a known cost may be in float64 too: only work in other types is excluded.
    most = 1.0 - case.share(float(case.calls[~is_float64]["work_ns"].sum()))
    if case.share(taken_ns * choice.spared) < limits.worth_share:
        return None
    return wide_type_finding(case, limits, choice, calls, taken_ns=taken_ns, most=most)


def float32_finding(trace: Trace, case: WorkCase, limits: Limits) -> Finding | None:
    """Return the finding about float32 on a device that is faster in TF32 or bfloat16."""
    calls = case.calls[case.calls["matrix"] & (case.calls["dtype"] == "float32")]
    choice = faster_than_float32(case)
    if not case.is_cpu and len(calls):
        calls = calls[uses_float32_units(trace, calls)]
    calls = calls[is_near_roof(case, calls, limits)]
    if choice.speed_ratio < limits.faster_type or not len(calls):
        return None
    taken_ns = float(calls["work_ns"].sum())
    if case.share(taken_ns * choice.spared) < limits.worth_share:
        return None
    most = case.share(taken_ns)
    return wide_type_finding(case, limits, choice, calls, taken_ns=taken_ns, most=most)


def wide_type_finding(
    case: WorkCase,
    limits: Limits,
    choice: NarrowerType,
    calls: pd.DataFrame,
    *,
    taken_ns: float,
    most: float,
) -> Finding:
    """Return the finding; `taken_ns` is the work in the wide type, `most` its largest share."""
    times = f"{digits(choice.speed_ratio)} times"
    message = Message(
        f"Reduced precision unused: work in {choice.wide} takes {percent(case.share(taken_ns))} of"
        " the time",
        f"{case.top_operators(calls)}. {choice.narrow} is {times} as fast on this device and would"
        f" save at most {percent(most * choice.spared)} of the time.",
    )
    source = "on every device"
    if choice.wide == "float32" and isinstance(case.peaks, Peaks):
        source = f"peaks of {case.peaks.name}"
    text = f"{choice.narrow} against {choice.wide}: {times} the rate ({source})"
    return case.finding(
        ID,
        taken_ns * choice.spared,
        limits,
        message=message,
        evidence=[
            Evidence(text, round(choice.speed_ratio, 2), "times"),
            *case.origin_evidence(calls),
        ],
        actions=narrower_types(case, choice, len(calls)),
        speedup=ceiling(most * choice.spared),
    )


def faster_than_float32(case: WorkCase) -> NarrowerType:
    """Return the type to use instead of float32; its ratio is 1 where that is unknown."""
    rate = float32_rate(case)
    if not isinstance(case.peaks, Peaks) or not rate:
        return NarrowerType("float32", "bfloat16", 1.0)
    rates = {name: case.peaks.matrix.get(name, 0.0) for name in NARROWER}
    faster = (name for name in NARROWER if rates[name] and rates[name] >= rate)
    narrow = next(faster, "bfloat16")
    return NarrowerType("float32", narrow, (rates[narrow] or 0.0) / rate or 1.0)


def float32_rate(case: WorkCase) -> float | None:
    """Return FLOP/s of float32 in units for float32; None where it is unknown."""
    if not isinstance(case.peaks, Peaks):
        return None
    rates = case.peaks.matrix if case.is_cpu else case.peaks.vector
    return rates.get("float32")


def is_near_roof(case: WorkCase, calls: pd.DataFrame, limits: Limits) -> NDArray[np.bool_]:
    """Return which calls reach a good part of float32's rate, or wait for memory.

    Other calls are too small to gain from a faster type.
    """
    rate = float32_rate(case) or np.inf
    computing_ns = calls["flops"].to_numpy(np.float64) / rate * 1e9
    attainable_ns = calls["attainable_ns"].to_numpy(np.float64)
    least_ns = np.where(calls["side"] == MEMORY, attainable_ns, computing_ns)
    near: NDArray[np.bool_] = least_ns >= limits.near_roof * calls["work_ns"].to_numpy(np.float64)
    return near


def uses_float32_units(trace: Trace, calls: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which calls ran kernels whose names show that float32 units did the work."""
    work, kernels = trace.fact(device_work), table(trace, "kernels")
    if kernels is None:
        return np.zeros(len(calls), bool)
    in_float32_units = [
        bool(FLOAT32_UNITS.search(name)) and not MATRIX_UNITS.search(name)
        for name in kernels["name"].cat.categories
    ]
    of_code = np.array([*in_float32_units, False], bool)
    code_of_work = np.append(kernels["name"].cat.codes.to_numpy(), -1)[work.kernel]
    operators = work.op[of_code[code_of_work] & work.costed]
    return np.isin(calls["op"].to_numpy(), operators)


def narrower_types(case: WorkCase, choice: NarrowerType, calls: int) -> list[Action]:
    """Return the changes of type that the device supports."""
    float64_finding = f"{plural(float(calls), 'matrix multiplication')} in float64"
    is_float64 = choice.wide == "float64"
    matrix = case.peaks.matrix if isinstance(case.peaks, Peaks) else {}
    rate = float32_rate(case) or 0.0
    tf32, bfloat16 = matrix.get("tf32", 0.0), matrix.get("bfloat16", 0.0)
    device_type = "cpu" if case.is_cpu else "cuda"
    return [
        *CONVERT_TO_FLOAT32.given(
            is_float64, float64_finding, snippet="inputs = inputs.float(); model.float()"
        ),
        *CONVERT_NUMPY_ARRAYS.given(
            is_float64, float64_finding, snippet="array.astype(np.float32)"
        ),
        *ALLOW_TF32.given(
            choice.narrow == "tf32",
            f"{digits(tf32 / 1e12)} TFLOP/s in TF32, {digits(rate / 1e12)} in float32",
            snippet='torch.set_float32_matmul_precision("high")',
        ),
        *USE_BFLOAT16.given(
            not is_float64 and bfloat16 > rate,
            f"{digits(bfloat16 / 1e12)} TFLOP/s in bfloat16, {digits(rate / 1e12)} in float32",
            snippet=f'torch.autocast("{device_type}", dtype=torch.bfloat16)',
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    loss_is_upper_bound=True,
    where=line_in_loop,
    advice=(CONVERT_TO_FLOAT32, CONVERT_NUMPY_ARRAYS, ALLOW_TF32, USE_BFLOAT16),
    color="device-compute",
)
