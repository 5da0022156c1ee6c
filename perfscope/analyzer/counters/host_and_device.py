"""Host and device at the same time: how much of the time each is busy, observed from outside."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

FEWEST_STATES: Final = 10
"""State samples of a thread below which a share of them is not used."""
BUSY_STATES: Final = ("running", "gil")
"""States in which the thread runs, or waits for a core or the GIL."""


@dataclass(frozen=True)
class HostAndDevice:
    """Shares of the window, 0..1.

    `device_busy`: any kernel runs on the device. `host_busy`: the main thread of the first of its
    processes runs, or waits for a core or the GIL.
    """

    use: DeviceUse
    device_busy: float
    host_busy: float


def host_and_device(trace: Trace) -> list[HostAndDevice]:
    """Return each device of the job for which both shares are known."""
    found = []
    for use in trace.fact(device_use):
        device_busy, host_busy = use.means.get("kernel_time_share"), main_thread_busy(trace, use)
        if device_busy is not None and host_busy is not None:
            found.append(HostAndDevice(use, device_busy, host_busy))
    return found


def main_thread_busy(trace: Trace, use: DeviceUse) -> float | None:
    """Return the share of state samples in which the main thread is busy, None with too few."""
    states = table(trace, "thread_states")
    if states is None or not use.processes:
        return None
    ts = column(states, "ts")
    in_window = (ts >= use.begin_ns) & (ts < use.end_ns)
    of_process = column(states, "process") == use.processes[0]
    seen = states["state"][of_process & in_window].astype(str)
    return float(np.mean(seen.isin(BUSY_STATES))) if len(seen) >= FEWEST_STATES else None
