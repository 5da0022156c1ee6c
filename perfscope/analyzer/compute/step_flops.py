"""What a step computes and moves, and the share of the device's peak that this is (MFU)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.roofline import roofed_calls
from perfscope.analyzer.compute.roofline_coverage import BEFORE, covered, roof_coverage
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.steps import steady
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import Unit
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class StepFlops:
    """Of one device: whole steps that were counted, what each does on average (`flops` products,
    convolutions and attention only), the time of a step (not of those inside a window), and
    `utilisation`: FLOPs by what the device could have done in that time, each type by its own peak;
    None where a peak is not known or too much of the work has no cost.

    It counts what ran: with activation checkpointing the recomputation too (then it is called
    hardware FLOPs utilisation).
    """

    rank: int
    process: int
    device: int
    steps: int
    flops: float
    bytes: float
    step_ns: float
    utilisation: float | None


def step_flops(trace: Trace) -> list[StepFlops]:
    """For each device whose whole steps were seen with costs."""
    return [one for one in (_of_unit(trace, unit) for unit in work_units(trace)) if one is not None]


def _of_unit(trace: Trace, unit: Unit) -> StepFlops | None:
    rows, calls, ops = trace.fact(time_budget), trace.fact(roofed_calls), table(trace, "ops")
    usual = steady(rows)
    mine, usual = rows[rows["process"] == unit.process], usual[usual["process"] == unit.process]
    counted = usual if trace.has_profiled_work else _in_windows(trace, unit.process, mine)
    if ops is None or not len(counted) or not len(usual):
        return None
    own = calls[(calls["process"] == unit.process) & (calls["device"] == unit.device)]
    begin = column(counted.sort_values("ts"), "ts")
    end = begin + column(counted.sort_values("ts"), "dur")
    at = column(ops, "ts")[own["op"].to_numpy(np.int64)]
    place = np.searchsorted(begin, at, side="right") - 1
    inside = (place >= 0) & (at < end[place])
    own = own[inside]
    products = own[own["matrix"] & own["flops"].notna()]
    if not len(own):
        return None
    steps, step_ns = len(counted), float(usual["dur"].mean())
    possible = _device_seconds(trace, unit, products) if _mostly_known(trace, unit) else None
    used = None if possible is None else possible / steps / (step_ns / 1e9)
    flops = float(products["flops"].sum()) / steps
    return StepFlops(
        unit.rank,
        unit.process,
        unit.device,
        steps,
        flops,
        float(own["bytes"].sum()) / steps,
        step_ns,
        used,
    )


def _mostly_known(trace: Trace, unit: Unit) -> bool:
    """Has nearly all of the work a cost? What was launched before the recording belongs to no step
    of it.
    """
    rows = trace.fact(roof_coverage)
    rows = rows[
        (rows["process"] == unit.process)
        & (rows["device"] == unit.device)
        & (rows["why"] != BEFORE)
    ]
    return covered(rows, reachable=False) >= LIMITS.enough_costs


def _in_windows(trace: Trace, process: int, rows: pd.DataFrame) -> pd.DataFrame:
    """The steps that lie whole inside a window."""
    windows = table(trace, "windows")
    own = None if windows is None else windows[(windows["process"] == process) & windows["kept"]]
    begin, end = column(own, "begin"), column(own, "end")
    first, last = column(rows, "ts"), column(rows, "ts") + column(rows, "dur")
    whole = [bool(((begin <= a) & (b <= end)).any()) for a, b in zip(first, last, strict=True)]
    return rows[np.array(whole, bool)]


def _device_seconds(trace: Trace, unit: Unit, products: pd.DataFrame) -> float | None:
    """Seconds that the device would need for these at its peaks, None where one is not known."""
    peaks = trace.fact(roofs).get((unit.process, unit.device))
    if not isinstance(peaks, Peaks) or not len(products):
        return None
    seconds = 0.0
    for dtype, flops in products.groupby("dtype")["flops"].sum().items():
        rate = peaks.flops_per_s(str(dtype), matrix=True)
        if rate is None:
            return None
        seconds += float(flops) / rate
    return seconds
