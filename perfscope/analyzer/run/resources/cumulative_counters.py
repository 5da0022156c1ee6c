"""Growth of cumulative counters over a window of time, by process."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column, pair, table
from perfscope.traces.intervals import Ints, Spans
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]

HOST = -1
WHOLE = -1
BORN_NS = 1_500_000_000
"""A process first seen later than this after the first reading started within the recording: what
it had used by then belongs to it. Collectors read every process at least once a second.
"""


def counter_growth(
    trace: Trace, name: str, begin: int, end: int, *, threads: bool = False
) -> dict[tuple[int, int], float]:
    """Return the growth of a cumulative counter between two instants (ns), by process and tid.

    Growth is linear between readings. The tid is -1 for a whole process; threads are returned
    instead with `threads`. Process -1 is the host. Where readings cover only a part of the window,
    at least half, growth is scaled to the whole of it.
    """
    frame = readings(trace, name)
    if frame is None or not len(frame) or end <= begin:
        return {}
    opening = int(frame["ts"].min())
    grown = {}
    for keys, rows in frame.groupby(["process", "tid"]):
        process, tid = pair(keys)
        if (tid != WHOLE) != threads:
            continue
        ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
        if ts[0] > opening + BORN_NS and process != HOST:
            ts, value = np.append(ts[0] - 1, ts), np.append(0.0, value)
            grown[process, tid] = growth(ts, value, begin, end)
            continue
        low, high = max(begin, int(ts[0])), min(end, int(ts[-1]))
        if high <= low:
            continue
        lives_on = ts[-1] >= end - BORN_NS
        covers_half = high - low >= (end - begin) / 2
        scale = (end - begin) / (high - low) if lives_on and covers_half else 1.0
        grown[process, tid] = growth(ts, value, low, high) * scale
    return grown


def growth(ts: Ints, value: Floats, begin: int, end: int) -> float:
    """Return the growth between two instants, never below 0.

    A sum over threads falls when one of them ends.
    """
    low, high = np.interp([begin, end], ts, value)
    return max(float(high - low), 0.0)


def grown_in(trace: Trace, name: str, process: int, tid: int, spans: Spans) -> float | None:
    """Return the growth of one counter inside sorted spans that do not overlap (ns).

    Growth is linear between readings and scaled from the part of the spans that the readings cover.
    None where that is less than half.
    """
    frame = readings(trace, name)
    rows = None if frame is None else frame[(frame["process"] == process) & (frame["tid"] == tid)]
    if rows is None or len(rows) < 2 or not len(spans[0]):
        return None
    ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
    begin, end = (np.clip(edges, ts[0], ts[-1]) for edges in spans)
    known, whole = float((end - begin).sum()), float((spans[1] - spans[0]).sum())
    if known <= 0.0 or known < whole / 2:
        return None
    grown = np.interp(end, ts, value) - np.interp(begin, ts, value)
    return float(np.maximum(grown, 0.0).sum()) * whole / known


def readings(trace: Trace, name: str) -> pd.DataFrame | None:
    """Return the readings of one counter, sorted by time; None without the table."""
    frame = table(trace, "counters")
    return None if frame is None else frame[frame["name"] == name].sort_values("ts", kind="stable")


def host_growth(trace: Trace, name: str, begin: int, end: int) -> float | None:
    """Return the growth of a counter of the whole host."""
    return counter_growth(trace, name, begin, end).get((HOST, WHOLE))
