"""Energy of each device of the job: over the steady steps, per step and per sample, and over time.

Stated over a second or more only: the driver's counter moves every 20 to 100 ms, power readings are
means over up to a second.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.counters.series import device_series, mean, within
from perfscope.analyzer.devices.counters_per_step import integral, weights
from perfscope.analyzer.run.steps import steady
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

SHORTEST_NS: Final = 1_000_000_000
HOLE_NS: Final = SHORTEST_NS // 100
"""Time between two steady steps from which on something else ran there: a hundredth of a stretch.
"""
WINDOW_COLUMNS: Final = (
    "host",
    "device",
    "ts",
    "dur",
    "energy_j",
    "power_w",
    "steps",
    "energy_j_per_step",
)


@dataclass(frozen=True)
class DeviceEnergy:
    """Joules of one device over `seconds`; per step and sample where steps (and batch sizes) are
    known.

    `counted`: by the energy counter, else the power readings summed up.
    """

    use: DeviceUse
    joules: float
    seconds: float
    counted: bool
    joules_per_step: float | None
    joules_per_sample: float | None

    @property
    def mean_w(self) -> float:
        return self.joules / self.seconds

    @property
    def samples_per_joule(self) -> float | None:
        """Performance per watt: samples a second for each watt."""
        return None if not self.joules_per_sample else 1.0 / self.joules_per_sample


def energy(trace: Trace) -> list[DeviceEnergy]:
    """One for each device of the job whose energy or power was read over a second or more of the
    window.
    """
    found = []
    for use in trace.fact(device_use):
        rows, counted = power(trace, use)
        watts = mean(rows)
        covered_ns = int(column(rows, "span").sum())
        if watts is None or covered_ns < SHORTEST_NS or use.end_ns - use.begin_ns < SHORTEST_NS:
            continue
        per_step, per_sample = per_work(trace, use, watts)
        found.append(
            DeviceEnergy(use, watts * use.span_s, use.span_s, counted, per_step, per_sample)
        )
    return found


def energy_windows(trace: Trace) -> pd.DataFrame:
    """Columns WINDOW_COLUMNS: energy over stretches of whole steps of at least a second, or of a
    second where no steps are known.

    ts, dur: ns. `steps` is -1 and `energy_j_per_step` NaN without steps.
    """
    rows = [row for use in trace.fact(device_use) for row in windows_of(trace, use)]
    return pd.DataFrame(rows, columns=list(WINDOW_COLUMNS))


def windows_of(trace: Trace, use: DeviceUse) -> list[dict[str, object]]:
    """The stretches of one device."""
    series, _ = power(trace, use)
    series = series[series["span"] > 0]
    found: list[dict[str, object]] = []
    for begin, end, steps in stretches(trace, use) if len(series) else ():
        edges = np.array([begin, end])
        covered, summed = (
            float(np.diff(integral(series, weight, edges))[0]) for weight in weights(series)[:2]
        )
        if covered < SHORTEST_NS // 2:
            continue
        watts = summed / covered
        joules = watts * (end - begin) / 1e9
        per_step = joules / steps if steps > 0 else float("nan")
        values = (use.host, use.device, begin, end - begin, joules, watts, steps, per_step)
        found.append(dict(zip(WINDOW_COLUMNS, values, strict=True)))
    return found


def stretches(trace: Trace, use: DeviceUse) -> list[tuple[int, int, int]]:
    """(begin, end, steps) of at least a second each, of steps right behind each other: none over
    what is no steady step.
    """
    rows = steps_on(trace, use)
    if not len(rows):
        edges = np.arange(use.begin_ns, use.end_ns, SHORTEST_NS)
        return [(int(low), int(high), -1) for low, high in pairwise(edges)]
    found, begin, count = [], int(rows["ts"].iloc[0]), 0
    last = begin
    for ts, dur in zip(column(rows, "ts"), column(rows, "dur") + column(rows, "cut"), strict=True):
        if ts - last > HOLE_NS:
            begin, count = int(ts), 0
        last = ts + dur
        count += 1
        if ts + dur - begin >= SHORTEST_NS:
            found.append((begin, int(ts + dur), count))
            begin, count = int(ts + dur), 0
    return found


def power(trace: Trace, use: DeviceUse) -> tuple[pd.DataFrame, bool]:
    """Watts over time: growth of the energy counter, else power readings; and whether it is the
    counter.
    """
    series = trace.fact(device_series)
    counter = within(series, use.host, use.device, "energy_w", use.begin_ns, use.end_ns)
    if len(counter):
        return counter, True
    return within(series, use.host, use.device, "power_w", use.begin_ns, use.end_ns), False


def steps_on(trace: Trace, use: DeviceUse) -> pd.DataFrame:
    """The steady steps of the first of the job's processes on the device."""
    rows = steady(trace.fact(time_budget))
    own = rows[rows["process"].isin(use.processes)]
    return own[own["process"] == own["process"].iloc[0]] if len(own) else own


def per_work(trace: Trace, use: DeviceUse, watts: float) -> tuple[float | None, float | None]:
    """(joules a step, joules a sample); None where there are no steps, or the size of a batch is
    not known.
    """
    rows = steps_on(trace, use)
    if not len(rows):
        return None, None
    per_step = watts * float(rows["dur"].mean()) / 1e9
    batch = usual_batch(trace)
    samples = None if batch is None else batch * float(rows["micro_steps"].clip(lower=1).mean())
    return per_step, None if not samples else per_step / samples


def usual_batch(trace: Trace) -> float | None:
    """Samples in a batch, by what loader workers fetched."""
    fetches = table(trace, "fetches")
    if fetches is None:
        return None
    known = column(fetches, "samples")
    known = known[known > 0]
    return float(np.median(known)) if len(known) else None
