"""How much device memory was in use and held at the peaks."""

from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.budget_units import rank_by_process
from perfscope.analyzer.run.table_access import column, pair, table
from perfscope.traces.trace import Trace

COLUMNS: Final = (
    "rank",
    "process",
    "device",
    "ts",
    "reserved_bytes",
    "allocated_bytes",
    "used_ts",
    "used_bytes",
    "held_at_use",
    "memory_bytes",
)
NO_MEMORY_EVENT: Final = Unmet("not-in-this-format", "no memory event of a device is in the trace")


def memory_peaks(trace: Trace) -> pd.DataFrame:
    """Return one row for each device with memory events.

    `ts`, `reserved_bytes` and `allocated_bytes` are of the instant at which the allocator held
    most; `used_ts`, `used_bytes` and `held_at_use` of that at which tensors used most;
    `memory_bytes` is of the device (-1 unknown).
    """
    events = table(trace, "memory")
    if events is None:
        return pd.DataFrame(columns=list(COLUMNS))
    is_known = (column(events, "device") >= 0) & (column(events, "reserved_bytes") >= 0)
    ranks, sizes = rank_by_process(trace), device_sizes(trace)
    rows = []
    for keys, of_device in events[is_known].groupby(["process", "device"], sort=True):
        process, device = pair(keys)
        most_held = of_device.iloc[int(np.argmax(column(of_device, "reserved_bytes")))]
        most_used = of_device.iloc[int(np.argmax(column(of_device, "allocated_bytes")))]
        rows.append(
            {
                "rank": ranks.get(process, 0),
                "process": process,
                "device": device,
                "ts": int(most_held["ts"]),
                "reserved_bytes": int(most_held["reserved_bytes"]),
                "allocated_bytes": int(most_held["allocated_bytes"]),
                "used_ts": int(most_used["ts"]),
                "used_bytes": int(most_used["allocated_bytes"]),
                "held_at_use": int(most_used["reserved_bytes"]),
                "memory_bytes": sizes.get((process, device), -1),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def device_sizes(trace: Trace) -> dict[tuple[int, int], int]:
    """Return the memory of each device, in bytes, by process and device."""
    devices = table(trace, "devices")
    if devices is None:
        return {}
    keys = zip(devices["process"], devices["device"], devices["memory_bytes"], strict=True)
    return {(int(process), int(device)): int(size) for process, device, size in keys}
