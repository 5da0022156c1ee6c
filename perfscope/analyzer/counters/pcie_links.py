"""The PCIe link of each device that the job uses: its state while the device works, and its best
possible state.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.hardware.link_generations import pcie_bytes_per_s, pcie_name
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
FEWEST_IN_A_ROW: Final = 3
"""Consecutive slow readings, half a second apart, that count: a single one may be of a device that
was idle a moment before.
"""
NOT_READ: Final = (
    "the driver does not report the state of the device's PCIe link, or its best state, while"
    " kernels run (an idle link falls to generation 1)"
)


@dataclass(frozen=True)
class PcieLink:
    """The link while the device works, and its best state; rates are of each direction.

    The states are texts: generation and width. A link that was slower for a while is described by
    its state at that time: `share` is that part of the time in which the device works.
    """

    use: DeviceUse
    state: str
    bytes_per_s: float
    best_state: str
    best_bytes_per_s: float
    share: float

    @property
    def is_slow(self) -> bool:
        """Whether it runs at a lower generation or width than device and slot support."""
        return self.bytes_per_s < LIMITS.trained_down * self.best_bytes_per_s


def pcie_links(trace: Trace) -> list[PcieLink]:
    """Return each known link; a device that never worked is left out."""
    found = []
    for use in trace.fact(device_use):
        facts = use.facts
        best = pcie_bytes_per_s(facts.pcie_generation, facts.pcie_width)
        states = working_states(trace, use)
        if best is None or not len(states):
            continue
        described = describing_states(states, LIMITS.trained_down * best)
        generation, width = most_frequent_state(described)
        found.append(
            PcieLink(
                use=use,
                state=pcie_name(generation, width),
                bytes_per_s=float(pcie_bytes_per_s(generation, width) or 0.0),
                best_state=pcie_name(facts.pcie_generation, facts.pcie_width),
                best_bytes_per_s=best,
                share=len(described) / len(states),
            )
        )
    return found


def working_states(trace: Trace, use: DeviceUse) -> pd.DataFrame:
    """Return the state of the link at each reading made while kernels ran.

    Columns ts, generation, width (int64), bytes_per_s (float64).
    """
    generation, width = (
        while_working(trace, use, use.readings(trace, f"pcie_{name}"))[["ts", "value"]]
        for name in ("generation", "width")
    )
    rows = generation.merge(width, on="ts").astype(np.int64)
    rows.columns = pd.Index(["ts", "generation", "width"])
    pairs = zip(rows["generation"], rows["width"], strict=True)
    rates = [pcie_bytes_per_s(*pair) for pair in pairs]
    rows["bytes_per_s"] = np.array([np.nan if rate is None else rate for rate in rates], np.float64)
    return rows[rows["bytes_per_s"].notna()]


def most_frequent_state(states: pd.DataFrame) -> tuple[int, int]:
    """Return the generation and width that were read most often."""
    counts = states.groupby(["generation", "width"]).size()
    generation, width = counts.index[int(np.argmax(counts.to_numpy()))]
    return int(generation), int(width)


def describing_states(states: pd.DataFrame, enough_bytes_per_s: float) -> pd.DataFrame:
    """Return the readings that describe the link.

    These are the readings below `enough_bytes_per_s`, several in a row, if they are a large enough
    share of all readings; else the readings that are not below it.
    """
    is_low = states["bytes_per_s"] < enough_bytes_per_s
    if is_low.all() or not is_low.any():
        return states
    stretch = (is_low != is_low.shift()).cumsum()
    length = is_low.groupby(stretch).transform("size")
    is_low &= length >= FEWEST_IN_A_ROW
    if is_low.mean() >= LIMITS.full_link_share:
        return states[is_low]
    return states[states["bytes_per_s"] >= enough_bytes_per_s]


def peak_at_readings(trace: Trace, link: PcieLink, rows: pd.DataFrame) -> Floats:
    """Return the bytes/s that the link could carry during each of these readings.

    A link may change its rate during the recording: the peak is that of the faster of the two
    states that were read before and after the reading, while the device worked.
    """
    states = working_states(trace, link.use)
    state_ts, carried = column(states, "ts"), states["bytes_per_s"].to_numpy(np.float64)
    begin, end = column(rows, "ts") - column(rows, "span"), column(rows, "ts")
    last = len(state_ts) - 1
    before = np.clip(np.searchsorted(state_ts, begin, side="right") - 1, 0, last)
    after = np.clip(np.searchsorted(state_ts, end), 0, last)
    peak: Floats = np.maximum(carried[before], carried[after])
    return peak


def while_working(trace: Trace, use: DeviceUse, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the readings that were taken while kernels ran."""
    load = use.readings(trace, "kernel_time_share")
    if not len(load) or not len(rows):
        return rows.iloc[:0]
    position = nearest_reading(load, column(rows, "ts"))
    shares = load["value"].to_numpy(np.float64)[position]
    return rows[shares >= LIMITS.device_works]


def nearest_reading(rows: pd.DataFrame, ts: Ints) -> Ints:
    """Return the position of the first reading at or after each instant, else of the last one."""
    position: Ints = np.clip(np.searchsorted(column(rows, "ts"), ts), 0, len(rows) - 1)
    return position
