"""Latency histograms: the growth of one over a recording, and quantiles with their bucket."""

import math
from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.bootstrap import Floats

METRICS = "metrics"


@dataclass(frozen=True)
class Quantile:
    """A quantile and the bounds of its bucket, in the unit of the histogram.

    `value` is interpolated within the bucket. It is None in the first and in the last bucket: the
    first begins at zero wherever the values are, and the last has no end.
    """

    value: float | None
    low: float
    high: float | None


@dataclass(frozen=True)
class Histogram:
    """The observations of a recording: `counts[i]` of them are in (bounds[i - 1], bounds[i]].

    The last bound is infinite. `total` is the sum of the values, NaN unknown.
    """

    bounds: Floats
    counts: Floats
    total: float

    @property
    def count(self) -> float:
        """The number of observations."""
        return float(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """The mean, None without observations."""
        return self.total / self.count if self.count > 0 and math.isfinite(self.total) else None

    def quantile(self, share: float) -> Quantile | None:
        """Return the value that `share` of the observations do not exceed, None without any."""
        if self.count <= 0:
            return None
        reached = np.cumsum(self.counts)
        wanted = share * self.count
        at = int(np.searchsorted(reached, wanted, side="left"))
        at = min(at, len(self.counts) - 1)
        low = float(self.bounds[at - 1]) if at else 0.0
        high = float(self.bounds[at])
        if math.isinf(high):
            return Quantile(None, low, None)
        if at == 0:
            return Quantile(None, 0.0, high)
        before = float(reached[at - 1])
        inside = (wanted - before) / max(float(self.counts[at]), 1e-12)
        return Quantile(low + (high - low) * min(max(inside, 0.0), 1.0), low, high)

    def count_above(self, value: float) -> float:
        """Return how many observations are certainly above `value`."""
        lower_bounds = np.concatenate(([0.0], self.bounds[:-1]))
        return float(self.counts[lower_bounds >= value].sum())
