"""What the counters of its device said over each step of a rank."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.counters.series import device_series, within
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
    *("kernel_time_share", "sm_active", "tensor_active", "dram_active", "power_w", "sm_clock_mhz"),
    *(
        "nvlink_tx_bytes_per_s",
        "nvlink_rx_bytes_per_s",
        "pcie_tx_bytes_per_s",
        "pcie_rx_bytes_per_s",
    ),
)


def device_per_step(trace: Trace) -> pd.DataFrame:
    """Columns COLUMNS: process, rank, index of the step, ts and dur (ns) as in `steps`; the mean of
    one counter over it.

    `readings` is how many readings reach into the step, as a number that need not be whole: below
    one the value is of a longer time than the step. Steps that no reading covers are left out;
    energy is told over a second or more only (`energy`).
    """
    steps = trace.fact(time_budget)
    parts = []
    for use in trace.fact(device_use):
        for process in use.processes:
            own = steps[steps["process"] == process] if len(steps) else steps
            parts += [
                part
                for name in NAMES
                if len(own) and (part := over_steps(trace, use, own, name)) is not None
            ]
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame({name: [] for name in COLUMNS})
    )


def over_steps(trace: Trace, use: DeviceUse, steps: pd.DataFrame, name: str) -> pd.DataFrame | None:
    """One counter over the steps of one process; None where it was not read."""
    begin, end = (
        column(steps, "ts"),
        column(steps, "ts") + column(steps, "dur") + column(steps, "cut"),
    )
    rows = within(
        trace.fact(device_series), use.host, use.device, name, int(begin.min()), int(end.max())
    )
    rows = rows[rows["span"] > 0]
    if not len(rows):
        return None
    covered, summed, count = (
        integral(rows, weight, end) - integral(rows, weight, begin) for weight in weights(rows)
    )
    known = covered > 0
    values = summed[known] / covered[known]
    kept = steps[known]
    columns = {one: kept[one] for one in ("process", "rank", "index")}
    rest = {
        "name": name,
        "ts": begin[known],
        "dur": column(kept, "dur"),
        "value": values,
        "readings": count[known],
    }
    return pd.DataFrame({**columns, "host": use.host, "device": use.device, **rest})[list(COLUMNS)]


def weights(rows: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Per nanosecond of a reading: one (what is covered), its value, and its part of one
    reading.
    """
    ones = np.ones(len(rows))
    return ones, rows["value"].to_numpy(np.float64), ones / rows["span"].to_numpy(np.float64)


def integral(rows: pd.DataFrame, weight: Floats, at: Ints) -> Floats:
    """The integral of a weight up to each instant; between readings (in a gap) it stands still."""
    high = column(rows, "ts")
    low = np.maximum(
        high - column(rows, "span"), np.concatenate([[np.iinfo(np.int64).min], high[:-1]])
    )
    edges = np.column_stack([low, high]).ravel()
    gains = np.column_stack([np.zeros(len(rows)), weight * (high - low)]).ravel()
    grown: Floats = np.interp(at, edges, np.cumsum(gains))
    return grown
