"""How the job's resident memory moves while it runs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.facts.counters import HOST, WHOLE, readings
from perfscope.analyzer.facts.host_load import SECOND_NS, window
from perfscope.analyzer.facts.rows import column
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
RESAMPLES = 400


@dataclass(frozen=True)
class MemoryTrend:
    """Resident memory of the whole tree: a line through its readings, with the 95 % interval of its slope by
    bootstrap.
    """

    first_bytes: float
    last_bytes: float
    slope: float  # bytes per second
    low: float
    high: float
    span_s: float
    halves: tuple[float, float]  # slopes of the first and of the second half


def memory_trend(trace: Trace) -> MemoryTrend | None:
    """Slope of the tree's resident memory over the steady steps."""
    frame = readings(trace, "rss_bytes")
    if frame is None:
        return None
    begin, end = window(trace)
    rows = frame[(frame["process"] != HOST) & (frame["tid"] == WHOLE)]
    series = [(column(part, "ts"), part["value"].to_numpy(np.float64)) for _, part in rows.groupby("process")]
    # Only processes that lived through: a worker that starts is not a leak.
    whole = [
        (ts, value) for ts, value in series if len(ts) >= 2 and ts[0] <= begin + SECOND_NS and ts[-1] >= end - SECOND_NS
    ]
    if not whole:
        return None
    grid = np.linspace(begin, end, max(int((end - begin) / SECOND_NS) * 2, 2))
    tree = np.sum([np.interp(grid, ts, value) for ts, value in whole], axis=0)
    at = (grid - begin) / SECOND_NS
    slope, low, high = slope_with_interval(at, tree)
    half = len(at) // 2
    halves = (slope_of(at[:half], tree[:half]), slope_of(at[half:], tree[half:])) if half >= 2 else (slope, slope)
    return MemoryTrend(float(tree[0]), float(tree[-1]), slope, low, high, float(at[-1]), halves)


def slope_of(at: Floats, value: Floats) -> float:
    """Least-squares slope."""
    centred = at - at.mean()
    weight = float((centred**2).sum())
    return float((centred * value).sum()) / weight if weight > 0.0 else 0.0


def slope_with_interval(at: Floats, value: Floats) -> tuple[float, float, float]:
    """Least-squares slope with its 95 % interval, residuals resampled in blocks of neighbours (they are correlated)."""
    centred = at - at.mean()
    weight = float((centred**2).sum())
    if weight <= 0.0:
        return 0.0, 0.0, 0.0
    slope = slope_of(at, value)
    residual = value - value.mean() - slope * centred
    rng = np.random.default_rng(0)
    block = max(int(np.sqrt(len(at))), 1)
    starts = rng.integers(0, max(len(at) - block, 0) + 1, (RESAMPLES, -(-len(at) // block)))
    picked = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, : len(at)]
    slopes = slope + (residual[picked] * centred).sum(axis=1) / weight
    return slope, float(np.quantile(slopes, 0.025)), float(np.quantile(slopes, 0.975))
