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
RATE_ENDINGS: Final = {"_bytes": "_bytes_per_s", "_ns": "_share", "_count": "_per_s"}
LONGEST_STATE_NS: Final = 20_000_000_000
"""The longest time before a reading that it describes."""


def device_series(trace: Trace) -> pd.DataFrame:
    """Return the readings of all devices; empty without counters.

    Columns host, name (str), device, ts, span (int64, ns), value (float64). A row describes the
    `span` before its `ts`. A total becomes a rate: energy_j is `energy_w` (W), X_bytes is
    `X_bytes_per_s`, X_ns is `X_share` (of the time), X_count is `X_per_s`. There is no row where
    the driver or the device was away (device_gaps), or where a total fell (it was reset).
    """
    counters = table(trace, "device_counters")
    if counters is None:
        return pd.DataFrame({name: [] for name in COLUMNS})
    parts: list[pd.DataFrame] = []
    for keys, rows in counters.groupby(["host", "device", "name"], observed=True, sort=False):
        host, device, name = series_key(keys)
        series = series_of_counter(rows, gaps_of_device(trace, host, device), name)
        parts.append(series.assign(host=host, device=device)[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True)


def series_key(keys: Any) -> tuple[str, int, str]:
    """Return the key of a group over host, device and name."""
    host, device, name = keys
    return str(host), int(device), str(name)


def series_of_counter(rows: pd.DataFrame, gaps: list[tuple[int, int]], name: str) -> pd.DataFrame:
    """Return name, ts, span and value of one counter of one device."""
    ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
    span = np.diff(ts, prepend=ts[0])
    known = BY_NAME.get(name)
    if known is not None and known.kind == "total":
        name = rate_name(name)
        growth = np.diff(value, prepend=value[0])
        is_valid = (span > 0) & (growth >= 0)
        ts, span, growth = ts[is_valid], span[is_valid], growth[is_valid]
        value = growth / (span if name.endswith("_share") else span / 1e9)
    else:
        span = np.minimum(span, LONGEST_STATE_NS)
    kept = ~overlaps_gap(gaps, ts - span, ts)
    return pd.DataFrame({"name": name, "ts": ts[kept], "span": span[kept], "value": value[kept]})


def rate_name(name: str) -> str:
    """Return the name of the rate of a total."""
    if name in RATE_NAMES:
        return RATE_NAMES[name]
    for ending, rate_ending in RATE_ENDINGS.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + rate_ending
    return name


def gaps_of_device(trace: Trace, host: str, device: int) -> list[tuple[int, int]]:
    """Return the intervals in which nothing could be read of a device, (begin, end) in ns."""
    gaps = table(trace, "device_gaps")
    if gaps is None:
        return []
    rows = gaps[(gaps["host"] == host) & gaps["device"].isin((device, -1))]
    pairs = zip(column(rows, "ts"), column(rows, "dur"), strict=True)
    return [(int(ts), int(ts + dur)) for ts, dur in pairs]


def overlaps_gap(gaps: list[tuple[int, int]], begin: Ints, end: Ints) -> NDArray[np.bool_]:
    """Return which intervals overlap one of the gaps."""
    overlaps = np.zeros(len(begin), bool)
    for gap_begin, gap_end in gaps:
        overlaps |= (begin < gap_end) & (end > gap_begin)
    return overlaps


def readings_within(
    series: pd.DataFrame, host: str, device: int, name: str, window_ns: tuple[int, int]
) -> pd.DataFrame:
    """Return the rows of one counter whose span overlaps a window (begin, end)."""
    if not len(series):
        return series
    begin_ns, end_ns = window_ns
    of_counter = (series["host"] == host) & (series["device"] == device) & (series["name"] == name)
    overlaps = (series["ts"] > begin_ns) & (series["ts"] - series["span"] < end_ns)
    return series[of_counter & overlaps]


def time_mean(rows: pd.DataFrame) -> float | None:
    """Return the mean over time; None without a reading."""
    if not len(rows):
        return None
    span, value = rows["span"].to_numpy(np.float64), rows["value"].to_numpy(np.float64)
    return float(np.average(value, weights=span)) if span.sum() > 0 else float(value.mean())


def share_of_time(rows: pd.DataFrame, at_least: float) -> float:
    """Return the share of the time read in which the value was at least `at_least`."""
    span = rows["span"].to_numpy(np.float64)
    is_high = rows["value"].to_numpy(np.float64) >= at_least
    return float(span[is_high].sum() / span.sum()) if span.sum() > 0 else 0.0


def longest_run_of_readings(rows: pd.DataFrame, at_least: float) -> tuple[int, int] | None:
    """Return the longest run of readings of at least `at_least`, (begin, end) in ns."""
    best: tuple[int, int] | None = None
    begin: int | None = None
    readings = zip(column(rows, "ts"), column(rows, "span"), rows["value"], strict=True)
    for ts, span, value in readings:
        if value < at_least:
            begin = None
            continue
        begin = int(ts - span) if begin is None else begin
        if best is None or ts - begin > best[1] - best[0]:
            best = begin, int(ts)
    return best
