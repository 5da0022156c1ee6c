"""How the job's resident memory moves while it runs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.run.cumulative_counters import HOST, WHOLE, readings
from perfscope.analyzer.run.host_load import SECOND_NS, window
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
RESAMPLES = 400
FEWEST = 4
# Memory is read some times a second: the reading after a window may still be one from within it.
SETTLED_NS = 1_000_000_000


@dataclass(frozen=True)
class MemoryTrend:
    """Resident memory of the whole tree: a line through its readings, with the 95 % interval of its
    slope by bootstrap.
    """

    first_bytes: float
    last_bytes: float
    slope: float  # bytes per second
    low: float
    high: float
    span_s: float
    parts: tuple[
        float, ...
    ]  # slopes of both halves, and of what lies before, between and behind windows
    processes: int  # of which it is the sum


def memory_trend(trace: Trace) -> MemoryTrend | None:
    """Slope of the tree's resident memory over the steady steps.

    A window of torch's profiler takes memory and gives it back: readings from it are left out, and
    the line before it may lie higher or lower than the one behind it.
    """
    frame = readings(trace, "rss_bytes")
    if frame is None:
        return None
    begin, end = window(trace)
    rows = frame[(frame["process"] != HOST) & (frame["tid"] == WHOLE)]
    series = [
        (column(part, "ts"), part["value"].to_numpy(np.float64))
        for _, part in rows.groupby("process")
    ]
    # Only processes that lived through: a worker that starts is not a leak.
    whole = [
        (ts, value)
        for ts, value in series
        if len(ts) >= 2 and ts[0] <= begin + SECOND_NS and ts[-1] >= end - SECOND_NS
    ]
    if not whole:
        return None
    grid = np.linspace(begin, end, max(int((end - begin) / SECOND_NS) * 2, 2))
    tree = np.sum([np.interp(grid, ts, value) for ts, value in whole], axis=0)
    piece = pieces(trace, grid)
    at, level, piece = ((grid - begin) / SECOND_NS)[piece >= 0], tree[piece >= 0], piece[piece >= 0]
    if not len(at):
        return None
    slope, low, high = slope_with_interval(at, level, piece)
    half = len(at) // 2
    parts = [
        np.arange(half),
        np.arange(half, len(at)),
        *(np.flatnonzero(piece == one) for one in np.unique(piece)),
    ]
    slopes = tuple(
        slope_of(centred(at[one], piece[one]), level[one]) for one in parts if len(one) >= FEWEST
    )
    return MemoryTrend(
        float(level[0]),
        float(level[-1]),
        slope,
        low,
        high,
        float(at[-1] - at[0]),
        slopes or (slope,),
        len(whole),
    )


def pieces(trace: Trace, grid: Floats) -> NDArray[np.int64]:
    """For each instant how many windows of the profiler are over, -1 inside one and until its
    memory has gone back.
    """
    windows = table(trace, "windows")
    if windows is None:
        return np.zeros(len(grid), np.int64)
    begin = np.sort(column(windows, "ts"))
    end = np.sort(column(windows, "ts") + column(windows, "dur")) + SETTLED_NS
    over = np.searchsorted(end, grid, side="right")
    inside = np.searchsorted(begin, grid, side="right") > over
    return np.where(inside, -1, over)


def centred(at: Floats, piece: NDArray[np.int64]) -> Floats:
    """Each less the mean of its piece."""
    _, number = np.unique(piece, return_inverse=True)
    moved: Floats = at - (np.bincount(number, at) / np.bincount(number))[number]
    return moved


def slope_of(moved: Floats, value: Floats) -> float:
    """Least-squares slope of `value` over instants centred within their pieces: one slope, a level
    for each piece.
    """
    weight = float((moved**2).sum())
    return float((moved * value).sum()) / weight if weight > 0.0 else 0.0


def slope_with_interval(
    at: Floats, value: Floats, piece: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Least-squares slope with its 95 % interval, residuals resampled in blocks of neighbours (they
    are correlated).
    """
    moved = centred(at, piece)
    weight = float((moved**2).sum())
    if weight <= 0.0:
        return 0.0, 0.0, 0.0
    slope = slope_of(moved, value)
    residual = centred(value, piece) - slope * moved
    rng = np.random.default_rng(0)
    block = max(int(np.sqrt(len(at))), 1)
    starts = rng.integers(0, max(len(at) - block, 0) + 1, (RESAMPLES, -(-len(at) // block)))
    picked = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, : len(at)]
    slopes = slope + (residual[picked] * moved).sum(axis=1) / weight
    return slope, float(np.quantile(slopes, 0.025)), float(np.quantile(slopes, 0.975))
