"""Bootstrap over steps or requests: the uncertainty of a mean or a quantile. Seeded: the same run
gives the same answer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000
QUANTILE_RESAMPLES = 300
"""Each reads the whole series: for 50,000 requests all of them take a fifth of a second."""
MOST_ROWS = 2000
"""Longer series are averaged into this many blocks of neighbors first: the answer does not change,
and the work stays bounded.
"""


def block_length(series: Floats) -> int:
    """Return how many steps to draw together, at most a fifth of all.

    It is 1 when neighbors are independent. When their correlation r is significant (above
    2 / sqrt(n)) it is the integrated autocorrelation time of an AR(1) series, (1 + r) / (1 - r), at
    least n^(1/3) (Kunsch 1989).
    """
    n = len(series)
    centered = series - series.mean() if n else series
    power = float((centered**2).sum())
    if n < 8 or power <= 0.0:
        return 1
    r = float((centered[1:] * centered[:-1]).sum()) / power
    if r < 2.0 / np.sqrt(n):
        return 1
    wanted = max(n ** (1.0 / 3.0), (1.0 + r) / (1.0 - min(r, 0.95)))
    return int(max(1, min(np.ceil(wanted), n // 5)))


def resampled_means(columns: Floats, resamples: int = RESAMPLES) -> Floats:
    """Return the means of `columns` (steps x quantities) in each resample.

    The result is resamples x quantities. It is a moving-block bootstrap with the block length of
    the first column; the same steps are drawn for all columns.
    """
    n = len(columns)
    if n > MOST_ROWS:
        fold = -(-n // MOST_ROWS)
        whole = columns[: n // fold * fold]
        columns = whole.reshape(-1, fold, columns.shape[1]).mean(axis=1)
        n = len(columns)
    block = block_length(columns[:, 0])
    rng = np.random.default_rng(20)
    running = np.vstack([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0)])
    draws = -(-n // block)
    starts = rng.integers(0, n - block + 1, (resamples, draws))
    sums = np.zeros((resamples, columns.shape[1]))
    for draw in range(draws):
        sums += running[starts[:, draw] + block] - running[starts[:, draw]]
    return np.asarray(sums / (draws * block))


def interval(values: Floats, level: float = 0.9) -> tuple[float, float]:
    """Return the central `level` of resampled values."""
    low, high = np.quantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def resampled_quantiles(series: Floats, weights: Floats, shares: Sequence[float]) -> Floats:
    """Return the quantiles of a weighted series, and of its resamples.

    The result is (1 + QUANTILE_RESAMPLES) x quantities; its first row is the series itself. It is a
    bootstrap over blocks of neighbors, because a queue makes the times of neighbors alike; their
    correlation determines the length of the blocks.
    """
    n = len(series)
    block = np.arange(n) // max(block_length(series), -(-n // MOST_ROWS))
    blocks = int(block[-1]) + 1
    order = np.argsort(series, kind="stable")
    values, counts, block = series[order], weights[order], block[order]
    rng = np.random.default_rng(20)
    found = np.empty((1 + QUANTILE_RESAMPLES, len(shares)))
    for resample in range(1 + QUANTILE_RESAMPLES):
        drawn = np.ones(blocks)
        if resample:
            drawn = np.bincount(rng.integers(0, blocks, blocks), minlength=blocks).astype(float)
        reached = np.cumsum(counts * drawn[block])
        at = np.searchsorted(reached, np.asarray(shares) * reached[-1], side="left")
        found[resample] = values[np.minimum(at, n - 1)]
    return found
