"""Counters of devices over time: totals as rates, the rest as read."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.device_counters import BY_NAME
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
COLUMNS: Final = ("host", "name", "device", "ts", "span", "value")
RATE_NAMES: Final = {"energy_j": "energy_w"}
LONGEST_NS: Final = 20_000_000_000
"""A state that was read longer ago than this says nothing of the time since."""


def device_series(trace: Trace) -> pd.DataFrame:
    """Columns host, name (str), device, ts, span (int64, ns), value (float64); empty without
    counters.

    One row for each reading, which stands for the `span` before its `ts`. A total becomes a rate:
    energy_j is `energy_w` (W), X_bytes is `X_bytes_per_s`, X_ns is `X_share` (of the time), X_count
    is `X_per_s`. Where the driver or the device was away (device_gaps), or a total fell (it was
    reset), there is no row.
    """
    counters = table(trace, "device_counters")
    parts: list[pd.DataFrame] = []
    if counters is None:
        return pd.DataFrame({name: [] for name in COLUMNS})
    for keys, rows in counters.groupby(["host", "device", "name"], observed=True, sort=False):
        host, device, name = _key(keys)
        parts.append(one_series(host, device, name, rows, gaps_of(trace, host, device)))
    return pd.concat(parts, ignore_index=True)


def _key(keys: Any) -> tuple[str, int, str]:
    host, device, name = keys
    return str(host), int(device), str(name)


def one_series(
    host: str, device: int, name: str, rows: pd.DataFrame, gaps: list[tuple[int, int]]
) -> pd.DataFrame:
    """The series of one counter of one device."""
    ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
    span = np.diff(ts, prepend=ts[0])
    known = BY_NAME.get(name)
    if known is not None and known.kind == "total":
        grown, name = np.diff(value, prepend=value[0]), rate_name(name)
        good = (span > 0) & (grown >= 0)
        ts, span = ts[good], span[good]
        value = grown[good] / (span if name.endswith("_share") else span / 1e9)
    else:
        span = np.minimum(span, LONGEST_NS)
    whole = ~crossing(gaps, ts - span, ts)
    columns = {"ts": ts[whole], "span": span[whole], "value": value[whole]}
    return pd.DataFrame({"host": host, "name": name, "device": device, **columns})


def rate_name(name: str) -> str:
    """What the rate of a total is called."""
    if name in RATE_NAMES:
        return RATE_NAMES[name]
    for ending, rate in (("_bytes", "_bytes_per_s"), ("_ns", "_share"), ("_count", "_per_s")):
        if name.endswith(ending):
            return name[: -len(ending)] + rate
    return name


def gaps_of(trace: Trace, host: str, device: int) -> list[tuple[int, int]]:
    """When nothing could be read of this device, (begin, end) ns."""
    gaps = table(trace, "device_gaps")
    if gaps is None:
        return []
    own = gaps[(gaps["host"] == host) & gaps["device"].isin((device, -1))]
    return [
        (int(ts), int(ts + dur))
        for ts, dur in zip(column(own, "ts"), column(own, "dur"), strict=True)
    ]


def crossing(gaps: list[tuple[int, int]], begin: Ints, end: Ints) -> NDArray[np.bool_]:
    """Does an interval reach into one of the gaps?"""
    inside = np.zeros(len(begin), bool)
    for low, high in gaps:
        inside |= (begin < high) & (end > low)
    return inside


def within(
    series: pd.DataFrame, host: str, device: int, name: str, begin: int, end: int
) -> pd.DataFrame:
    """The rows of one counter whose time lies in a window."""
    own = (series["host"] == host) & (series["device"] == device) & (series["name"] == name)
    return series[own & (series["ts"] > begin) & (series["ts"] - series["span"] < end)]


def mean(rows: pd.DataFrame) -> float | None:
    """The mean over time; None without a reading. Of a single state it is that."""
    if not len(rows):
        return None
    span, value = rows["span"].to_numpy(np.float64), rows["value"].to_numpy(np.float64)
    return float(np.average(value, weights=span)) if span.sum() > 0 else float(value.mean())


def share_of_time(rows: pd.DataFrame, at_least: float) -> float:
    """The share of the time read in which the value was at least so much."""
    span = rows["span"].to_numpy(np.float64)
    high = rows["value"].to_numpy(np.float64) >= at_least
    return float(span[high].sum() / span.sum()) if span.sum() > 0 else 0.0


def longest_at(rows: pd.DataFrame, at_least: float) -> tuple[int, int] | None:
    """The longest stretch of readings in a row that are at least so much, (begin, end) ns."""
    best: tuple[int, int] | None = None
    begin: int | None = None
    for ts, span, value in zip(
        column(rows, "ts"), column(rows, "span"), rows["value"], strict=True
    ):
        if value < at_least:
            begin = None
            continue
        begin = int(ts - span) if begin is None else begin
        if best is None or ts - begin > best[1] - best[0]:
            best = begin, int(ts)
    return best
