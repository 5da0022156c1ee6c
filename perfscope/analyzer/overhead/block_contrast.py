"""How much slower steps are under full instrumentation than in blocks that only count them.

Both kinds of blocks alternate within one recording (docs/decisions/0019), so that other changes in
the run cancel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints, Spans, covered

Floats = NDArray[np.float64]

FEWEST_CYCLES = 4
"""With fewer there is no spread to estimate an interval from."""
TRIMMED = 0.2
"""Of the cycles at each end: those with a checkpoint, a log or an evaluation in one kind of block.
"""
CAP_SHARE, CAP_NS = 2.0, 20_000_000
"""A step counts as at most this much longer than usual: more is not an effect of sampling."""
LEAST_SPREAD = 0.02
"""A cycle whose steps all have nearly the same exposure shows no difference."""
RESAMPLES = 2000
MOST_DRAWN, FEWEST_RESAMPLES = 400_000, 200
"""Of many cycles fewer resamples are drawn, which bounds the work."""
LEVEL = 0.95


@dataclass(frozen=True)
class Contrast:
    """By how much a fully instrumented step is longer than one that is only counted.

    `share` is relative to the latter, `low` and `high` bound its 95 % interval.
    """

    share: float
    low: float
    high: float
    cycles: int


def block_contrast(begin: Ints, dur: Ints, counting: Spans) -> Contrast | None:
    """Return the difference between steps inside and outside of `counting` blocks.

    `begin` and `dur` of steps are sorted, ns, as are the blocks. None where too few cycles have
    both kinds of steps. A cycle extends from the middle between two counting blocks to the next
    such middle: a steady drift cancels within it.
    """
    if len(dur) < 2 * FEWEST_CYCLES or len(counting[0]) < FEWEST_CYCLES:
        return None
    exposure = 1.0 - covered(counting, begin, begin + dur) / np.maximum(dur, 1)
    length = cap_durations(dur) / float(np.median(dur))
    middles = (counting[0][1:] + counting[1][:-1]) // 2
    cycle = np.searchsorted(middles, begin + dur // 2)
    slopes, weights = slopes_of(exposure, length, cycle)
    if len(slopes) < FEWEST_CYCLES:
        return None
    level = plain_level(length, exposure)
    drawn = resample_trimmed_means(slopes, weights) / level
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Contrast(trimmed_mean(slopes, weights) / level, float(low), float(high), len(slopes))


def cap_durations(dur: Ints) -> Floats:
    """Return the durations (ns), each at most as long as sampling can make it."""
    usual = float(np.median(dur))
    return np.asarray(np.minimum(dur.astype(float), usual + max(CAP_SHARE * usual, CAP_NS)))


def plain_level(length: Floats, exposure: Floats) -> float:
    """Return the mean length of steps that are mostly only counted."""
    plain = length[exposure < 0.5]
    return float(plain.mean()) if len(plain) else float(length.mean())


def slopes_of(exposure: Floats, length: Floats, cycle: Ints) -> tuple[Floats, Floats]:
    """Return the slope of length on exposure in each cycle, and its weight."""
    _, group = np.unique(cycle, return_inverse=True)
    count = np.bincount(group)
    x = exposure - (np.bincount(group, exposure) / count)[group]
    y = length - (np.bincount(group, length) / count)[group]
    spread = np.bincount(group, x * x)
    kept = spread > LEAST_SPREAD * count
    slopes: Floats = np.bincount(group, x * y)[kept] / spread[kept]
    return slopes, spread[kept].astype(float)


def trimmed_mean(values: Floats, weights: Floats) -> float:
    """Return the weighted mean without the TRIMMED share of the weight at each end."""
    return float(trimmed_means(values[None], weights[None])[0])


def trimmed_means(values: Floats, weights: Floats) -> Floats:
    """Return the `trimmed_mean` of each row."""
    order = np.argsort(values, axis=1)
    values, weights = np.take_along_axis(values, order, 1), np.take_along_axis(weights, order, 1)
    whole = weights.sum(axis=1, keepdims=True)
    ends = np.cumsum(weights, axis=1)
    inside = np.minimum(ends, (1 - TRIMMED) * whole) - np.maximum(ends - weights, TRIMMED * whole)
    inside = np.maximum(inside, 0.0)
    return np.asarray((inside * values).sum(axis=1) / inside.sum(axis=1))


def resample_trimmed_means(slopes: Floats, weights: Floats) -> Floats:
    """Return the trimmed mean of each resample of the cycles."""
    n = len(slopes)
    resamples = max(min(RESAMPLES, MOST_DRAWN // n), FEWEST_RESAMPLES)
    picks = np.random.default_rng(19).integers(0, n, (resamples, n))
    drawn = trimmed_means(slopes[picks], weights[picks])
    centre = trimmed_mean(slopes, weights)
    return np.asarray(centre + (drawn - centre) * np.sqrt(n / (n - 1)) * (1 + 1 / n))
