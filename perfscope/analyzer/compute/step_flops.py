"""The FLOPs and bytes of a step, and their share of the device's peak (MFU)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import steady_budget, time_budget
from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.roofline import roofed_calls
from perfscope.analyzer.compute.roofline_coverage import BEFORE, costed_share, roof_coverage
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.accelerators.device_activity import rows_on_device
from perfscope.analyzer.run.budget_units import Unit
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class StepFlops:
    """The mean work of the `steps` whole steps of one device that were counted.

    `flops` are those of matrix multiplications, convolutions and attention. `step_ns` is the time
    of a step outside of windows. `utilization` is the share of the FLOPs that the device could have
    done in that time, each type by its own peak; None where a peak is unknown or too much of the
    work has no cost. Recomputation with activation checkpointing counts too (this is then called
    hardware FLOPs utilization).
    """

    rank: int
    process: int
    device: int
    steps: int
    flops: float
    bytes: float
    step_ns: float
    utilization: float | None


def step_flops(trace: Trace) -> list[StepFlops]:
    """Return the work of a step of each device whose whole steps were recorded with costs."""
    found = [step_flops_of_unit(trace, unit) for unit in work_units(trace)]
    return [counted for counted in found if counted is not None]


def step_flops_of_unit(trace: Trace, unit: Unit) -> StepFlops | None:
    """Return the work of a step of one device, None without whole steps or costs."""
    usual = fact_rows(trace, steady_budget, unit.process)
    counted = usual
    if not trace.has_profiled_work:
        of_process = fact_rows(trace, time_budget, unit.process)
        counted = steps_in_windows(trace, unit.process, of_process)
    if not len(counted) or not len(usual):
        return None
    calls = calls_in_steps(trace, unit, counted)
    if not len(calls):
        return None
    products = calls[calls["matrix"] & calls["flops"].notna()]
    steps, step_ns = len(counted), float(usual["dur"].mean())
    utilization = None
    if costs_mostly_known(trace, unit):
        at_peak_s = seconds_at_peak(trace, unit, products)
        if at_peak_s is not None:
            utilization = at_peak_s / steps / (step_ns / 1e9)
    return StepFlops(
        rank=unit.rank,
        process=unit.process,
        device=unit.device,
        steps=steps,
        flops=float(products["flops"].sum()) / steps,
        bytes=float(calls["bytes"].sum()) / steps,
        step_ns=step_ns,
        utilization=utilization,
    )


def calls_in_steps(trace: Trace, unit: Unit, steps: pd.DataFrame) -> pd.DataFrame:
    """Return the calls with a cost of one device whose operator began inside one of these steps."""
    ops = table(trace, "ops")
    calls = rows_on_device(fact_rows(trace, roofed_calls, unit.process), unit.device)
    if ops is None or not len(calls):
        return calls.iloc[:0]
    steps = steps.sort_values("ts")
    begin = column(steps, "ts")
    end = begin + column(steps, "dur")
    called = column(ops, "ts")[calls["op"].to_numpy(np.int64)]
    step = np.searchsorted(begin, called, side="right") - 1
    inside: pd.DataFrame = calls[(step >= 0) & (called < end[step])]
    return inside


def costs_mostly_known(trace: Trace, unit: Unit) -> bool:
    """Return whether nearly all of the work has a cost.

    Work that was launched before the recording belongs to no step of it.
    """
    rows = rows_on_device(fact_rows(trace, roof_coverage, unit.process), unit.device)
    rows = rows[rows["why"] != BEFORE]
    return costed_share(rows, reachable=False) >= LIMITS.enough_costs


def steps_in_windows(trace: Trace, process: int, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the steps that are entirely inside a window."""
    windows = table(trace, "windows")
    if windows is None:
        return rows.iloc[:0]
    kept = windows[(windows["process"] == process) & windows["kept"]]
    begin, end = column(kept, "begin"), column(kept, "end")
    first, last = column(rows, "ts"), column(rows, "ts") + column(rows, "dur")
    whole = [bool(((begin <= a) & (b <= end)).any()) for a, b in zip(first, last, strict=True)]
    return rows[np.array(whole, bool)]


def seconds_at_peak(trace: Trace, unit: Unit, products: pd.DataFrame) -> float | None:
    """Return the seconds that the device needs for these at its peaks, None where unknown."""
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
