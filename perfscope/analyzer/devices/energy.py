"""Energy of each device of the job: over the steady steps, per step and per sample, and over time.

It is given only for a second or more: the driver's counter moves every 20 to 100 ms, and power
readings are means over up to a second.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.run.accelerators.counter_series import time_mean
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.analyzer.run.loops.steps import steady
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
SHORTEST_NS: Final = 1_000_000_000
LONGEST_GAP_NS: Final = SHORTEST_NS // 100
"""Steady steps further apart than this belong to different stretches."""
MOST_STRETCHES: Final = 10_000
"""Of a recording without steps; of one of days they are longer than a second."""
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
    """Joules of one device over `seconds`.

    `counted`: by the energy counter, else from power readings. The values per step and per sample
    are None where steps or batch sizes are unknown.
    """

    use: DeviceUse
    joules: float
    seconds: float
    counted: bool
    joules_per_step: float | None
    joules_per_sample: float | None


def energy(trace: Trace) -> list[DeviceEnergy]:
    """Return the energy of each device whose energy or power was read over a second or more."""
    found = []
    for use in trace.fact(device_use):
        rows, counted = power(trace, use)
        watts = time_mean(rows)
        read_ns, window_ns = int(column(rows, "span").sum()), use.end_ns - use.begin_ns
        if watts is None or min(read_ns, window_ns) < SHORTEST_NS:
            continue
        per_step, per_sample = energy_per_work(trace, use, watts)
        joules = watts * use.span_s
        found.append(DeviceEnergy(use, joules, use.span_s, counted, per_step, per_sample))
    return found


def energy_windows(trace: Trace) -> pd.DataFrame:
    """Return the energy over stretches of whole steps of at least a second; columns WINDOW_COLUMNS.

    Without steps a stretch is a second (longer in a recording of hours), `steps` is -1 and
    `energy_j_per_step` NaN. ts, dur: ns.
    """
    rows = [row for use in trace.fact(device_use) for row in windows_of_device(trace, use)]
    return pd.DataFrame(rows, columns=list(WINDOW_COLUMNS))


def windows_of_device(trace: Trace, use: DeviceUse) -> list[dict[str, object]]:
    """Return the stretches of one device for which at least half a second of readings exists."""
    series, _ = power(trace, use)
    series = series[series["span"] > 0]
    parts = stretches(trace, use)
    found: list[dict[str, object]] = []
    if not len(series) or not parts:
        return found
    edges = np.array([(begin, end) for begin, end, _ in parts], np.int64)
    covered = np.diff(integrate_to(series, np.ones(len(series)), edges))[:, 0]
    energies = np.diff(integrate_to(series, series["value"].to_numpy(np.float64), edges))[:, 0]
    for (begin, end, steps), covered_ns, watt_ns in zip(parts, covered, energies, strict=True):
        if covered_ns < SHORTEST_NS // 2:
            continue
        watts = float(watt_ns / covered_ns)
        joules = watts * (end - begin) / 1e9
        per_step = joules / steps if steps > 0 else float("nan")
        values = (use.host, use.device, begin, end - begin, joules, watts, steps, per_step)
        found.append(dict(zip(WINDOW_COLUMNS, values, strict=True)))
    return found


def integrate_to(readings: pd.DataFrame, weight: Floats, instants: Ints) -> Floats:
    """Return the integral of a weight, given per reading, up to each instant.

    It does not grow in gaps between readings.
    """
    end = column(readings, "ts")
    previous_end = np.concatenate([[np.iinfo(np.int64).min], end[:-1]])
    begin = np.maximum(end - column(readings, "span"), previous_end)
    edges = np.column_stack([begin, end]).ravel()
    gains = np.column_stack([np.zeros(len(readings)), weight * (end - begin)]).ravel()
    values: Floats = np.interp(instants, edges, np.cumsum(gains))
    return values


def stretches(trace: Trace, use: DeviceUse) -> list[tuple[int, int, int]]:
    """Return (begin, end, steps) of at least a second each, of consecutive steady steps."""
    rows = steps_on_device(trace, use)
    if not len(rows):
        length_ns = max(SHORTEST_NS, (use.end_ns - use.begin_ns) // MOST_STRETCHES)
        edges = np.arange(use.begin_ns, use.end_ns + 1, length_ns)
        return [(int(begin), int(end), -1) for begin, end in pairwise(edges)]
    found = []
    begin = last = int(rows["ts"].iloc[0])
    count = 0
    durations = column(rows, "dur") + column(rows, "cut")
    for ts, duration in zip(column(rows, "ts").tolist(), durations.tolist(), strict=True):
        if ts - last > LONGEST_GAP_NS:
            begin, count = ts, 0
        last = ts + duration
        count += 1
        if last - begin >= SHORTEST_NS:
            found.append((begin, last, count))
            begin, count = last, 0
    return found


def power(trace: Trace, use: DeviceUse) -> tuple[pd.DataFrame, bool]:
    """Return watts over time, and whether they are from the energy counter, not power readings."""
    counter = use.readings(trace, "energy_w")
    return (counter, True) if len(counter) else (use.readings(trace, "power_w"), False)


def steps_on_device(trace: Trace, use: DeviceUse) -> pd.DataFrame:
    """Return the steady steps of the first of the job's processes on the device."""
    rows = steady(trace.fact(time_budget))
    of_device = rows[rows["process"].isin(use.processes)]
    if not len(of_device):
        return of_device
    first: pd.DataFrame = of_device[of_device["process"] == of_device["process"].iloc[0]]
    return first


def energy_per_work(
    trace: Trace, use: DeviceUse, watts: float
) -> tuple[float | None, float | None]:
    """Return joules per step and per sample; None where steps or batch sizes are unknown."""
    rows = steps_on_device(trace, use)
    if not len(rows):
        return None, None
    per_step = watts * float(rows["dur"].mean()) / 1e9
    batch = usual_batch(trace)
    if not batch:
        return per_step, None
    return per_step, per_step / (batch * float(rows["micro_steps"].clip(lower=1).mean()))


def usual_batch(trace: Trace) -> float | None:
    """Return the median number of samples per batch that was fetched, None where unknown."""
    samples = column(table(trace, "fetches"), "samples")
    known = samples[samples > 0]
    return float(np.median(known)) if len(known) else None
