"""The peak memory of the host's processes and of each device, as far as it was recorded."""

import numpy as np

from perfscope.analyzer.counters.device_use import device_use
from perfscope.analyzer.counters.series import device_series, within
from perfscope.analyzer.diagnosis import MemoryUse
from perfscope.analyzer.host.memory_trend import memory_trend
from perfscope.analyzer.memory.memory_use import memory_peaks
from perfscope.analyzer.run.cumulative_counters import HOST, WHOLE, readings
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace


def memory_summary(trace: Trace, step_s: float | None) -> list[MemoryUse]:
    """Return the host's peak, then each device's; growth is per step of `step_s` seconds."""
    return [*host_memory(trace, step_s), *device_memory_peaks(trace)]


def host_memory(trace: Trace, step_s: float | None) -> list[MemoryUse]:
    """Return the largest sum of resident memory of the recorded processes, in bytes."""
    frame = readings(trace, "rss_bytes")
    if frame is None:
        return []
    per_process = frame[(frame["process"] != HOST) & (frame["tid"] == WHOLE)]
    if not len(per_process):
        return []
    by_time = per_process.pivot_table(index="ts", columns="process", values="value").ffill()
    peak_bytes = int(by_time.sum(axis=1).max())
    limit_bytes = manifest(trace).memory_limit_bytes
    trend = memory_trend(trace)
    growth = trend.slope * step_s if trend is not None and step_s is not None else None
    headroom_bytes = None if limit_bytes is None else limit_bytes - peak_bytes
    return [MemoryUse(None, None, peak_bytes, limit_bytes, headroom_bytes, growth)]


def device_memory_peaks(trace: Trace) -> list[MemoryUse]:
    """Return the peak of each device: as the driver read it, else as the allocator recorded it."""
    series = trace.fact(device_series)
    found = []
    for use in trace.fact(device_use):
        rows = within(series, use.host, use.device, "memory_used_bytes", use.begin_ns, use.end_ns)
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
