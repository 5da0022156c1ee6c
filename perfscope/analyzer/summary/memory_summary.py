"""The peak memory of the host's processes and of each device, where it was recorded."""

import numpy as np

from perfscope.analyzer.diagnosis import MemoryUse
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.memory.memory_use import memory_peaks
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.analyzer.run.resources.cumulative_counters import HOST, WHOLE, readings
from perfscope.analyzer.run.resources.memory_trend import memory_trend
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace


def memory_summary(trace: Trace, step_s: float | None, limits: Limits) -> list[MemoryUse]:
    """Return the host's peak, then each device's; growth is per step of `step_s` seconds."""
    return [*host_memory(trace, step_s, limits), *device_memory_peaks(trace)]


def host_memory(trace: Trace, step_s: float | None, limits: Limits) -> list[MemoryUse]:
    """Return the largest sum of resident memory of the recorded processes, in bytes.

    Nothing for a job on several hosts, whose memory does not add up.
    """
    frame = readings(trace, "rss_bytes")
    if frame is None or len(trace.manifests) > 1:
        return []
    per_process = frame[(frame["process"] != HOST) & (frame["tid"] == WHOLE)]
    if not len(per_process):
        return []
    by_time = per_process.pivot_table(index="ts", columns="process", values="value")
    # Between two readings of a process, not after its last one: it may have ended.
    filled = by_time.ffill().where(by_time.bfill().notna())
    peak_bytes = int(filled.sum(axis=1).max())
    limit_bytes = manifest(trace).memory_limit_bytes
    headroom_bytes = None if limit_bytes is None else limit_bytes - peak_bytes
    growth = growth_bytes_per_step(trace, step_s, limits)
    return [MemoryUse(None, None, peak_bytes, limit_bytes, headroom_bytes, growth)]


def growth_bytes_per_step(trace: Trace, step_s: float | None, limits: Limits) -> float | None:
    """Return the growth of resident memory; None where it is not clearly above zero."""
    trend = memory_trend(trace)
    if trend is None or step_s is None or trend.span_s < limits.growth_span_s or trend.low <= 0.0:
        return None
    return trend.slope * step_s


def device_memory_peaks(trace: Trace) -> list[MemoryUse]:
    """Return the peak of each device: as the driver read it, else as the allocator recorded it."""
    found = []
    for use in trace.fact(device_use):
        rows = use.readings(trace, "memory_used_bytes")
        if len(rows):
            peak_bytes = int(rows["value"].to_numpy(np.float64).max())
            found.append(device_memory_use(use.device, None, peak_bytes, use.facts.memory_bytes))
    if found:
        return found
    return [
        device_memory_use(
            int(row["device"]),
            int(row["process"]),
            int(row["reserved_bytes"]),
            int(row["memory_bytes"]),
        )
        for row in trace.fact(memory_peaks).to_dict("records")
    ]


def device_memory_use(
    device: int, process: int | None, peak_bytes: int, memory_bytes: int
) -> MemoryUse:
    """Return one device's peak; its size is -1 where it is not known."""
    if memory_bytes <= 0:
        return MemoryUse(device, process, peak_bytes, None, None, None)
    return MemoryUse(device, process, peak_bytes, memory_bytes, memory_bytes - peak_bytes, None)
