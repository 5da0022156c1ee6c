"""How full the memory of the job's devices was, as the driver says it: everybody's on the device,
and the driver's own.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.counters.series import device_series, within
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class FullestMemory:
    """The moment of most, on the device that was fullest; `share` of its memory."""

    use: DeviceUse
    ts: int
    used_bytes: int
    share: float


def fullest_memory(trace: Trace) -> FullestMemory | None:
    """None where no device of the job tells."""
    series = trace.fact(device_series)
    found = []
    for use in trace.fact(device_use):
        rows = within(series, use.host, use.device, "memory_used_bytes", use.begin_ns, use.end_ns)
        if len(rows) and use.facts.memory_bytes > 0:
            row = rows.iloc[int(np.argmax(rows["value"].to_numpy(np.float64)))]
            used = int(row["value"])
            found.append(FullestMemory(use, int(row["ts"]), used, used / use.facts.memory_bytes))
    return max(found, key=lambda one: one.share, default=None)
