"""The growth of the job's resident memory while it runs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.run.resources.cumulative_counters import HOST, WHOLE, readings
from perfscope.analyzer.run.resources.host_load import SECOND_NS, window
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
MOST_INSTANTS = 3600
"""More would change nothing but the time and memory that the interval takes."""
RESAMPLES = 400
FEWEST_READINGS = 4
SETTLED_NS = 1_000_000_000
"""Memory is read a few times per second: a reading after a window may still be from within it."""
SAMPLES_PER_S = 2


@dataclass(frozen=True)
class MemoryTrend:
    """A line fitted to the resident memory of the whole tree; slopes in bytes per second.

    `low` and `high` bound the 95 % interval of the slope, by bootstrap.
    """

    first_bytes: float
    last_bytes: float
    slope: float
    low: float
    high: float
    span_s: float
    parts: tuple[float, ...]
    """Slopes of both halves, and of the parts before, between and after profiling windows."""
    processes: int
    """The processes whose memory is summed."""


@dataclass(frozen=True)
class TreeMemory:
    """Resident memory of the process tree at regular instants (seconds), outside of windows.

    `piece` numbers the stretches between windows.
    """

    seconds: Floats
    bytes: Floats
    piece: Ints
    processes: int


def memory_trend(trace: Trace) -> MemoryTrend | None:
    """Return the trend of the tree's resident memory over the steady steps.

    A window of torch's profiler takes memory and returns it: readings within it are left out, and
    the line before it may be higher or lower than the one after it.
    """
    memory = tree_memory(trace)
    if memory is None:
        return None
    at, level, piece = memory.seconds, memory.bytes, memory.piece
    slope, low, high = slope_with_interval(at, level, piece)
    half = len(at) // 2
    parts = [np.arange(half), np.arange(half, len(at))]
    parts += [np.flatnonzero(piece == number) for number in np.unique(piece)]
    slopes = [
        slope_of(subtract_piece_means(at[part], piece[part]), level[part])
        for part in parts
        if len(part) >= FEWEST_READINGS
    ]
    return MemoryTrend(
        first_bytes=float(level[0]),
        last_bytes=float(level[-1]),
        slope=slope,
        low=low,
        high=high,
        span_s=float(at[-1] - at[0]),
        parts=tuple(slopes) or (slope,),
        processes=memory.processes,
    )


def tree_memory(trace: Trace) -> TreeMemory | None:
    """Return the memory of the processes that ran all the time.

    The memory of a worker that starts later would look like growth.
    """
    frame = readings(trace, "rss_bytes")
    if frame is None:
        return None
    begin, end = window(trace)
    rows = frame[(frame["process"] != HOST) & (frame["tid"] == WHOLE)]
    series = []
    for _, of_process in rows.groupby("process"):
        ts, value = column(of_process, "ts"), of_process["value"].to_numpy(np.float64)
        if len(ts) >= 2 and ts[0] <= begin + SECOND_NS and ts[-1] >= end - SECOND_NS:
            series.append((ts, value))
    if not series:
        return None
    count = min(int((end - begin) / SECOND_NS) * SAMPLES_PER_S, MOST_INSTANTS)
    grid = np.linspace(begin, end, max(count, 2))
    tree = np.sum([np.interp(grid, ts, value) for ts, value in series], axis=0)
    piece = pieces_between_windows(trace, grid)
    outside = piece >= 0
    if not outside.any():
        return None
    seconds = (grid - begin) / SECOND_NS
    return TreeMemory(seconds[outside], tree[outside], piece[outside], len(series))


def pieces_between_windows(trace: Trace, grid: Floats) -> Ints:
    """Return, for each instant, how many profiling windows have ended before it.

    It is -1 inside a window and until its memory has been returned.
    """
    windows = table(trace, "windows")
    if windows is None:
        return np.zeros(len(grid), np.int64)
    begin = np.sort(column(windows, "ts"))
    end = np.sort(column(windows, "ts") + column(windows, "dur")) + SETTLED_NS
    ended = np.searchsorted(end, grid, side="right")
    within = np.searchsorted(begin, grid, side="right") > ended
    return np.where(within, -1, ended)


def subtract_piece_means(values: Floats, piece: Ints) -> Floats:
    """Return the values less the mean of their piece."""
    _, number = np.unique(piece, return_inverse=True)
    means = np.bincount(number, values) / np.bincount(number)
    moved: Floats = values - means[number]
    return moved


def slope_of(moved: Floats, value: Floats) -> float:
    """Return the least-squares slope of `value` over instants centred within their pieces.

    All pieces have one slope, each has a level of its own.
    """
    weight = float((moved**2).sum())
    return float((moved * value).sum()) / weight if weight > 0.0 else 0.0


def slope_with_interval(at: Floats, value: Floats, piece: Ints) -> tuple[float, float, float]:
    """Return the least-squares slope with its 95 % interval.

    Residuals are resampled in blocks of neighbors, since these are correlated.
    """
    moved = subtract_piece_means(at, piece)
    weight = float((moved**2).sum())
    if weight <= 0.0:
        return 0.0, 0.0, 0.0
    slope = slope_of(moved, value)
    residual = subtract_piece_means(value, piece) - slope * moved
    rng = np.random.default_rng(0)
    block = max(int(np.sqrt(len(at))), 1)
    blocks = -(-len(at) // block)
    starts = rng.integers(0, max(len(at) - block, 0) + 1, (RESAMPLES, blocks))
    picked = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, : len(at)]
    slopes = slope + (residual[picked] * moved).sum(axis=1) / weight
    return slope, float(np.quantile(slopes, 0.025)), float(np.quantile(slopes, 0.975))
