"""The first and the last instant of a set of tables."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def span(tables: Iterable[pd.DataFrame]) -> tuple[int, int]:
    """Return the first and the last instant of all events, in nanoseconds; (0, 0) without any."""
    starts, ends = [], []
    for table in tables:
        if "ts" in table and len(table):
            ts = table["ts"].to_numpy(np.int64)
            end = ts + table["dur"].to_numpy(np.int64) if "dur" in table else ts
            starts.append(int(ts.min()))
            ends.append(int(end.max()))
    return (min(starts), max(ends)) if starts else (0, 0)


def move_to_job_time(tables: dict[str, pd.DataFrame]) -> int:
    """Shift the times of all tables in place, so that the first instant is 0. Return that instant
    as it was recorded, in nanoseconds.
    """
    zero_ns, _ = span(tables.values())
    for table in tables.values():
        if "ts" in table:
            table["ts"] = table["ts"].to_numpy(np.int64) - zero_ns
    return zero_ns
