"""The memory of the job's devices in use according to the driver: by all processes, and the driver
itself.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class FullestMemory:
    """The instant of highest use on the fullest device; `share` is of its memory."""

    use: DeviceUse
    ts: int
    used_bytes: int
    share: float


def fullest_memory(trace: Trace) -> FullestMemory | None:
    """Return the peak of the fullest device; None where it was read of no device of the job."""
    found = []
    for use in trace.fact(device_use):
        rows = use.readings(trace, "memory_used_bytes")
        memory_bytes = use.facts.memory_bytes
        if len(rows) and memory_bytes > 0:
            peak = rows.iloc[int(np.argmax(rows["value"].to_numpy(np.float64)))]
            used_bytes = int(peak["value"])
            share = used_bytes / memory_bytes
            found.append(FullestMemory(use, int(peak["ts"]), used_bytes, share))
    return max(found, key=lambda memory: memory.share, default=None)
