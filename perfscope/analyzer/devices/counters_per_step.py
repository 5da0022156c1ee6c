"""The counters of its device over each step of a rank."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.counters.series import device_series, readings_within
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
COLUMNS: Final = (
    "process",
    "rank",
    "index",
    "host",
    "device",
    "name",
    "ts",
    "dur",
    "value",
    "readings",
)
NAMES: Final = (
    "kernel_time_share",
    "sm_active",
    "tensor_active",
    "dram_active",
    "power_w",
    "sm_clock_mhz",
    "nvlink_tx_bytes_per_s",
    "nvlink_rx_bytes_per_s",
    "pcie_tx_bytes_per_s",
    "pcie_rx_bytes_per_s",
)


def device_per_step(trace: Trace) -> pd.DataFrame:
    """Return the mean of each counter over each step of each process on a device; columns COLUMNS.

    `index`, `ts` and `dur` (ns) are as in `steps`. `readings` is how many readings overlap the
    step, and need not be whole: below one the value is of a longer time than the step. Steps that
    no reading covers are left out; energy is given over a second or more only (`energy`).
    """
    steps = trace.fact(time_budget)
    parts = []
    for use in trace.fact(device_use):
        for process in use.processes if len(steps) else ():
            of_process = steps[steps["process"] == process]
            means = [mean_over_steps(trace, use, of_process, name) for name in NAMES]
            parts += [part for part in means if part is not None]
    if not parts:
        return pd.DataFrame({name: [] for name in COLUMNS})
    return pd.concat(parts, ignore_index=True)


def mean_over_steps(
    trace: Trace, use: DeviceUse, steps: pd.DataFrame, name: str
) -> pd.DataFrame | None:
    """Return one counter over the steps of one process; None where it was not read."""
    if not len(steps):
        return None
    begin, duration = column(steps, "ts"), column(steps, "dur")
    end = begin + duration + column(steps, "cut")
    window_ns = int(begin.min()), int(end.max())
    rows = readings_within(trace.fact(device_series), use.host, use.device, name, window_ns)
    rows = rows[rows["span"] > 0]
    if not len(rows):
        return None
    covered, summed, readings = (
        cumulative_at(rows, weight, end) - cumulative_at(rows, weight, begin)
        for weight in reading_weights(rows)
    )
    is_covered = covered > 0
    found = steps[is_covered].assign(
        host=use.host,
        device=use.device,
        name=name,
        ts=begin[is_covered],
        dur=duration[is_covered],
        value=summed[is_covered] / covered[is_covered],
        readings=readings[is_covered],
    )
    return found[list(COLUMNS)].reset_index(drop=True)


def reading_weights(rows: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Return, per nanosecond of a reading: one, its value, and its part of one reading."""
    ones = np.ones(len(rows))
    return ones, rows["value"].to_numpy(np.float64), ones / rows["span"].to_numpy(np.float64)


def cumulative_at(rows: pd.DataFrame, weight: Floats, instants: Ints) -> Floats:
    """Return the integral of a weight up to each instant; it does not grow in gaps."""
    end = column(rows, "ts")
    previous_end = np.concatenate([[np.iinfo(np.int64).min], end[:-1]])
    begin = np.maximum(end - column(rows, "span"), previous_end)
    edges = np.column_stack([begin, end]).ravel()
    gains = np.column_stack([np.zeros(len(rows)), weight * (end - begin)]).ravel()
    values: Floats = np.interp(instants, edges, np.cumsum(gains))
    return values
