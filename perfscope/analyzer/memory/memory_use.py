"""How much device memory was in use and held, at the moments of most."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, pair, table
from perfscope.analyzer.run.units import rank_by_process
from perfscope.traces.trace import Trace

HELD = ("ts", "reserved_bytes", "allocated_bytes")
USED = ("used_ts", "used_bytes", "held_at_use")
COLUMNS = ("rank", "process", "device", *HELD, *USED, "memory_bytes")


def memory_peaks(trace: Trace) -> pd.DataFrame:
    """One row for each device with memory events.

    `ts`, `reserved_bytes` and `allocated_bytes` of the moment at which the allocator held most,
    `used_ts`, `used_bytes` and `held_at_use` of that at which tensors used most, `memory_bytes` of
    the device (-1 unknown).
    """
    events = table(trace, "memory")
    if events is None:
        return pd.DataFrame(columns=list(COLUMNS))
    known = events[(column(events, "device") >= 0) & (column(events, "reserved_bytes") >= 0)]
    ranks, sizes = rank_by_process(trace), _sizes(trace)
    rows = []
    for key, own in known.groupby(["process", "device"], sort=True):
        process, device = pair(key)
        held = own.iloc[int(np.argmax(column(own, "reserved_bytes")))]
        used = own.iloc[int(np.argmax(column(own, "allocated_bytes")))]
        rows.append(
            {
                "rank": ranks.get(process, 0),
                "process": process,
                "device": device,
                "ts": int(held["ts"]),
                "reserved_bytes": int(held["reserved_bytes"]),
                "allocated_bytes": int(held["allocated_bytes"]),
                "used_ts": int(used["ts"]),
                "used_bytes": int(used["allocated_bytes"]),
                "held_at_use": int(used["reserved_bytes"]),
                "memory_bytes": sizes.get((process, device), -1),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _sizes(trace: Trace) -> dict[tuple[int, int], int]:
    devices = table(trace, "devices")
    if devices is None:
        return {}
    keys = zip(devices["process"], devices["device"], devices["memory_bytes"], strict=True)
    return {(int(process), int(device)): int(size) for process, device, size in keys}
