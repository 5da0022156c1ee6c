"""Device and host side by side: how much of the time each works, from outside."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

FEWEST: int = 10
"""States of a thread below which a share of them says little."""


@dataclass(frozen=True)
class HostAndDevice:
    """Shares of the window, 0..1: `device_busy` with any kernel on the device, `host_busy` with the
    main thread of the first of its processes running or waiting for a core or the GIL.
    """

    use: DeviceUse
    device_busy: float
    host_busy: float


def host_and_device(trace: Trace) -> list[HostAndDevice]:
    """One for each device of the job of which both are known."""
    found = []
    for use in trace.fact(device_use):
        busy, host = use.means.get("kernel_time_share"), host_busy(trace, use)
        if busy is not None and host is not None:
            found.append(HostAndDevice(use, busy, host))
    return found


def host_busy(trace: Trace, use: DeviceUse) -> float | None:
    """The share of states that are no wait for something else."""
    states = table(trace, "thread_states")
    if states is None or not use.processes:
        return None
    ts = column(states, "ts")
    inside = (
        (column(states, "process") == use.processes[0]) & (ts >= use.begin_ns) & (ts < use.end_ns)
    )
    own = states["state"][inside].astype(str)
    return float(np.mean(own.isin(("running", "gil")))) if len(own) >= FEWEST else None


def idle_share(trace: Trace, process: int) -> float | None:
    """The share of the steady steps in which no kernel ran on any device of a process; None where
    that was not read.
    """
    own = [use for use in trace.fact(device_use) if process in use.processes or not use.certain]
    busy = [use.means["kernel_time_share"] for use in own if "kernel_time_share" in use.means]
    return 1.0 - max(busy) if busy and len(busy) == len(own) else None
