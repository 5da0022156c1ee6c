"""The PCIe link of each device that the job uses: what it is while the device works, and what it could be."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.facts.device_counters.series import device_series, within
from perfscope.analyzer.facts.device_counters.use import DeviceUse, device_use
from perfscope.analyzer.facts.rows import column
from perfscope.analyzer.peaks.link_generations import pcie_bytes_per_s, pcie_name
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
WORKING: Final = 0.1
"""Share of the time with a kernel from which on the link cannot rest at generation 1 (it rests in idle states only)."""

NOT_READ: Final = (
    "the driver does not say what the PCIe link of the device is, or can be, while kernels run (at rest it falls to "
    "generation 1)"
)


@dataclass(frozen=True)
class PcieLink:
    """Now (while the device works) and at most, in each direction."""

    use: DeviceUse
    now: str
    now_bytes_per_s: float
    most: str
    most_bytes_per_s: float


def pcie_links(trace: Trace) -> list[PcieLink]:
    """One for each device whose link is known; a device that never worked is left out."""
    series = trace.fact(device_series)
    found = []
    for use in trace.fact(device_use):
        facts = use.facts
        most = pcie_bytes_per_s(facts.pcie_generation, facts.pcie_width)
        seen = [
            within(series, use.host, use.device, name, use.begin_ns, use.end_ns)
            for name in ("pcie_generation", "pcie_width")
        ]
        generation = usual(working(series, use, seen[0]))
        width = usual(working(series, use, seen[1]))
        now = None if generation is None or width is None else pcie_bytes_per_s(generation, width)
        if most is not None and now is not None and generation is not None and width is not None:
            named = pcie_name(facts.pcie_generation, facts.pcie_width)
            found.append(PcieLink(use, pcie_name(generation, width), now, named, most))
    return found


def peak_at(trace: Trace, link: PcieLink, rows: pd.DataFrame) -> Floats:
    """What the link could carry, bytes/s, while each of these readings was made: a link may train anew in the middle.

    The faster of the states read before and after it while the device worked; `now` where there is none.
    """
    series, use = trace.fact(device_series), link.use
    states = [
        working(series, use, within(series, use.host, use.device, name, use.begin_ns, use.end_ns))
        for name in ("pcie_generation", "pcie_width")
    ]
    both = states[0][["ts", "value"]].merge(states[1][["ts", "value"]], on="ts")
    if not len(both):
        return np.full(len(rows), link.now_bytes_per_s)
    told = [pcie_bytes_per_s(int(one), int(two)) for one, two in zip(both["value_x"], both["value_y"], strict=True)]
    carried = np.array([link.now_bytes_per_s if one is None else one for one in told])
    at = column(both, "ts")
    before = np.clip(np.searchsorted(at, column(rows, "ts") - column(rows, "span"), side="right") - 1, 0, len(at) - 1)
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


def usual(rows: pd.DataFrame) -> int | None:
    """The value that was read most often."""
    if not len(rows):
        return None
    return int(rows["value"].mode().max())
