"""The PCIe link of each device that the job uses: what it is while the device works, and what it
could be.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.counters.series import device_series, within
from perfscope.analyzer.hardware.link_generations import pcie_bytes_per_s, pcie_name
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
WORKING: Final = 0.1
"""Share of the time with a kernel from which on the link cannot rest at generation 1 (it rests in
idle states only).
"""

DOWN: Final = 0.9
"""Of what device and slot can do: below it the link trained down (the next lower generation or
width is half).
"""
IN_A_ROW: Final = 3
"""Readings, half a second apart: a single one may be of a device that was at rest a moment before.
"""
NOT_READ: Final = (
    "the driver does not say what the PCIe link of the device is, or can be, while kernels run (at"
    " rest it falls to generation 1)"
)


@dataclass(frozen=True)
class PcieLink:
    """Now (while the device works) and at most, in each direction.

    A link that trained down for a while is told as it was then: `share` is that part of the time in
    which the device works.
    """

    use: DeviceUse
    now: str
    now_bytes_per_s: float
    most: str
    most_bytes_per_s: float
    share: float


def pcie_links(trace: Trace) -> list[PcieLink]:
    """One for each device whose link is known; a device that never worked is left out."""
    found = []
    for use in trace.fact(device_use):
        facts = use.facts
        most = pcie_bytes_per_s(facts.pcie_generation, facts.pcie_width)
        states = working_states(trace, use)
        if most is not None and len(states):
            stood = standing(states, DOWN * most)
            generation, width = usual(stood)
            now, named = (
                pcie_name(generation, width),
                pcie_name(facts.pcie_generation, facts.pcie_width),
            )
            rate = float(pcie_bytes_per_s(generation, width) or 0.0)
            found.append(PcieLink(use, now, rate, named, most, len(stood) / len(states)))
    return found


def working_states(trace: Trace, use: DeviceUse) -> pd.DataFrame:
    """Columns ts, generation, width (int64), bytes_per_s (float64): the link at each reading that
    was made while kernels ran.
    """
    series = trace.fact(device_series)
    read = [
        working(
            series,
            use,
            within(series, use.host, use.device, f"pcie_{name}", use.begin_ns, use.end_ns),
        )[["ts", "value"]]
        for name in ("generation", "width")
    ]
    rows = read[0].merge(read[1], on="ts").astype(np.int64)
    rows.columns = pd.Index(["ts", "generation", "width"])
    rates = [pcie_bytes_per_s(*one) for one in zip(rows["generation"], rows["width"], strict=True)]
    rows["bytes_per_s"] = np.array([np.nan if one is None else one for one in rates], np.float64)
    return rows[rows["bytes_per_s"].notna()]


def usual(states: pd.DataFrame) -> tuple[int, int]:
    """Generation and width that were read most often."""
    counts = states.groupby(["generation", "width"]).size()
    generation, width = counts.index[int(np.argmax(counts.to_numpy()))]
    return int(generation), int(width)


def standing(states: pd.DataFrame, enough: float) -> pd.DataFrame:
    """The readings that tell of the link: those below `enough`, a few in a row, where they are
    worth telling; else the others.
    """
    low = states["bytes_per_s"] < enough
    if low.all() or not low.any():
        return states
    stretch = low.groupby((low != low.shift()).cumsum()).transform("size")
    low &= stretch >= IN_A_ROW
    return (
        states[low]
        if low.mean() >= LIMITS.full_link_share
        else states[states["bytes_per_s"] >= enough]
    )


def peak_at(trace: Trace, link: PcieLink, rows: pd.DataFrame) -> Floats:
    """What the link could carry, bytes/s, while each of these readings was made: a link may train
    anew in the middle.

    The faster of the states read before and after it while the device worked.
    """
    states = working_states(trace, link.use)
    at, carried = column(states, "ts"), states["bytes_per_s"].to_numpy(np.float64)
    before = np.clip(
        np.searchsorted(at, column(rows, "ts") - column(rows, "span"), side="right") - 1,
        0,
        len(at) - 1,
    )
    after = np.clip(np.searchsorted(at, column(rows, "ts")), 0, len(at) - 1)
    most: Floats = np.maximum(carried[before], carried[after])
    return most


def working(series: pd.DataFrame, use: DeviceUse, rows: pd.DataFrame) -> pd.DataFrame:
    """The readings that were taken while kernels ran."""
    load = within(series, use.host, use.device, "kernel_time_share", use.begin_ns, use.end_ns)
    if not len(load) or not len(rows):
        return rows.iloc[:0]
    at = np.clip(np.searchsorted(column(load, "ts"), column(rows, "ts")), 0, len(load) - 1)
    return rows[load["value"].to_numpy(np.float64)[at] >= WORKING]
