"""What each process uses over time: rates between readings of its cumulative counters."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
RATES = {
    "cpu_ns": "cores",
    "run_delay_ns": "waiting_cores",
    "read_bytes": "read_bytes_per_s",
    "write_bytes": "write_bytes_per_s",
}
PER_SECOND = {"cpu_ns": 1e-9, "run_delay_ns": 1e-9, "read_bytes": 1.0, "write_bytes": 1.0}
COARSEST_NS = 800_000_000
"""CPU time counts in clock ticks of 10 ms: over 0.8 s a rate is accurate to about 1 % of a core."""


def usage_over_time(trace: Trace) -> pd.DataFrame:
    """Return the usage of each process in long form, empty without counters.

    Columns: process (int64), role, name (str), ts (int64 ns), value (float64). Names: cores
    (CPU-seconds per second), waiting_cores (threads runnable without a core), read_bytes_per_s,
    write_bytes_per_s, rss_bytes. The ts of a rate is the end of its interval, of at least 0.8 s.
    """
    counters, processes = table(trace, "counters"), table(trace, "processes")
    empty = pd.DataFrame({"process": [], "role": [], "name": [], "ts": [], "value": []})
    if counters is None or processes is None:
        return empty
    roles = dict(zip(processes["process"], processes["role"].astype(str), strict=True))
    parts = []
    whole = counters[(counters["tid"] == -1) & (counters["process"] >= 0)]
    for (process, name), rows in whole.groupby(["process", "name"], observed=True):
        ts, value = rows["ts"].to_numpy(np.int64), rows["value"].to_numpy(np.float64)
        if name in RATES:
            ts, value = rates_between_readings(ts, value, PER_SECOND[str(name)])
        elif name != "rss_bytes":
            continue
        label = RATES.get(str(name), str(name))
        keys = {"process": process, "role": roles.get(process, "other"), "name": label}
        parts.append(pd.DataFrame({**keys, "ts": ts, "value": value}))
    return pd.concat(parts, ignore_index=True) if parts else empty


def rates_between_readings(ts: Ints, value: Floats, unit: float) -> tuple[Ints, Floats]:
    """Return instants and growth per second x unit, between readings COARSEST_NS apart or more."""
    kept = [0] if len(ts) else []
    for row in range(1, len(ts)):
        if ts[row] - ts[kept[-1]] >= COARSEST_NS:
            kept.append(row)
    seconds = np.diff(ts[kept]) / 1e9
    return ts[kept][1:], np.diff(value[kept]) * unit / seconds
