"""What a device and the recorded calls say about element types and tensor layouts, for advice."""

import json
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.compute.compute_case import WorkCase
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.run.table_access import table

CONVOLUTIONS: Final = "convolutions"
CHANNELS_LAST: Final = Advice(
    id="use-channels-last",
    text="use the channels_last memory format for convolutions",
    precondition="convolutions-are-contiguous",
    holds_when="Convolutions were recorded whose inputs are 4-dimensional and not channels_last.",
)


def has_bfloat16(case: WorkCase) -> bool:
    """Return whether the device is known to compute faster in bfloat16 than in float32."""
    if not isinstance(case.peaks, Peaks):
        return False
    narrow, wide = case.peaks.matrix.get("bfloat16"), case.peaks.vector.get("float32")
    return narrow is not None and wide is not None and narrow > wide


def bfloat16_evidence(case: WorkCase) -> str:
    """Return the rates of bfloat16 and float32 on the device, as text."""
    if not isinstance(case.peaks, Peaks):
        return "the peaks of the device are unknown"
    rates = (case.peaks.matrix.get("bfloat16"), case.peaks.vector.get("float32"))
    shown = [f"{digits(rate / 1e12)} TFLOP/s" if rate else "unknown" for rate in rates]
    return f"{case.peaks.name}: {shown[0]} in bfloat16, {shown[1]} in float32"


def channels_last_actions(case: WorkCase, calls: pd.DataFrame) -> list[Action]:
    """Return the advice to use channels_last, where convolutions are recorded as contiguous."""
    convolutions = calls[calls["family"] == CONVOLUTIONS]
    known, contiguous = contiguous_inputs(case, convolutions)
    evidence = f"{contiguous} of {plural(float(known), 'convolution call')} have contiguous input"
    if len(calls) and known:
        share = float(convolutions["work_ns"].sum()) / max(float(calls["work_ns"].sum()), 1.0)
        evidence += f"; convolutions take {percent(share)} of this work"
    return CHANNELS_LAST.given(
        contiguous > 0, evidence, snippet="model.to(memory_format=torch.channels_last)"
    )


def contiguous_inputs(case: WorkCase, convolutions: pd.DataFrame) -> tuple[int, int]:
    """Return how many convolutions have a known 4-dimensional input, and how many a contiguous one.

    Inputs without recorded strides, and those of one channel, count as unknown.
    """
    ops = table(case.trace, "ops")
    if ops is None or not len(convolutions):
        return 0, 0
    rows = ops.iloc[convolutions["op"].to_numpy(np.int64)]
    known = contiguous = 0
    for shapes, strides in zip(rows["shapes"], rows["strides"], strict=True):
        shape, stride = first_input(shapes), first_input(strides)
        if len(shape) != 4 or len(stride) != 4 or shape[1] < 2:
            continue
        known += 1
        contiguous += stride[1] != 1
    return known, contiguous


def first_input(text: object) -> list[int]:
    """Return the first entry of a JSON list of sizes or strides, empty where there is none."""
    if not isinstance(text, str):
        return []
    inputs = json.loads(text)
    first = inputs[0] if inputs else []
    return first if isinstance(first, list) and all(isinstance(n, int) for n in first) else []
