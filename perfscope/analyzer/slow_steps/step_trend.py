"""The trend of a series over steps: a line that some slow blocks of steps do not move."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

Floats = NDArray[np.float64]
Level = Callable[[Ints], np.floating[Any]]

MOST_BLOCKS: Final = 30
FEWEST_BLOCKS: Final = 12
"""With fewer points the interval of the slope is as wide as the slope."""
STEPS_PER_BLOCK: Final = 2
SECTIONS: Final = 6
"""The recording is divided into this many parts; the rises between them show growth that ends."""
NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class Trend:
    """A line through the levels of blocks of steps, by Theil (1950) and Sen (1968).

    Slopes are per step; `low` and `high` bound the 95 % interval of `slope`. `first` and `last` are
    the values of the line at the first and the last step. `rises` are the differences between the
    levels of neighboring parts, as multiples of their mean. `fits_better_than_jump` is whether the
    line is nearer to the blocks than two levels with a jump between them.
    """

    slope: float
    low: float
    high: float
    first: float
    last: float
    rises: tuple[float, ...]
    fits_better_than_jump: bool

    @property
    def growth(self) -> float:
        """The growth from the first to the last step."""
        return self.last - self.first


def trend_of(number: Ints, value: Ints, level_of: Level = np.mean) -> Trend | None:
    """Return the trend of a value over the numbers of steps, None with too few steps.

    `level_of` makes one value of a block of steps: their mean, or their median.
    """
    count = min(MOST_BLOCKS, len(number) // STEPS_PER_BLOCK)
    if count < FEWEST_BLOCKS:
        return None
    blocks = np.array_split(np.arange(len(number)), count)
    at = np.array([float(np.mean(number[block])) for block in blocks])
    level = np.array([float(level_of(value[block])) for block in blocks])
    slopes = pair_slopes(at, level)
    slope = float(np.median(slopes))
    low, high = slope_interval(slopes, count)
    offset = float(np.median(level - slope * at))
    distance_from_line = float(np.abs(level - offset - slope * at).sum())
    parts = np.array([np.median(part) for part in np.array_split(level, SECTIONS)])
    mean_rise = float(parts[-1] - parts[0]) / (SECTIONS - 1)
    rises = np.diff(parts) / mean_rise if mean_rise != 0.0 else np.zeros(SECTIONS - 1)
    return Trend(
        slope=slope,
        low=low,
        high=high,
        first=offset + slope * float(number[0]),
        last=offset + slope * float(number[-1]),
        rises=tuple(rises.tolist()),
        fits_better_than_jump=distance_from_line < distance_from_levels(level),
    )


def distance_from_levels(level: Floats) -> float:
    """Return the least sum of distances from two levels, one before and one after a jump."""
    distances = [
        float(np.abs(part - np.median(part)).sum())
        for split in range(1, len(level))
        for part in (level[:split], level[split:])
    ]
    return min(
        before + after for before, after in zip(distances[::2], distances[1::2], strict=True)
    )


def pair_slopes(at: Floats, level: Floats) -> Floats:
    """Return the slopes of the lines through all pairs of points, in ascending order."""
    first, second = np.triu_indices(len(at), 1)
    return np.sort((level[second] - level[first]) / (at[second] - at[first]))


def slope_interval(slopes: Floats, points: int) -> tuple[float, float]:
    """Return the 95 % interval of the median of the slopes of all pairs of points (Sen 1968)."""
    variance = points * (points - 1) * (2 * points + 5) / 18
    reach = NORMAL_95 * math.sqrt(variance)
    low = int((len(slopes) - reach) / 2)
    high = math.ceil((len(slopes) + reach) / 2)
    return float(slopes[max(low, 0)]), float(slopes[min(high, len(slopes) - 1)])
