"""The trend of a series over steps: a line that single slow steps do not move."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

Floats = NDArray[np.float64]

MOST_BLOCKS: Final = 30
FEWEST_BLOCKS: Final = 12
"""With fewer points the interval of the slope is as wide as the slope."""
STEPS_PER_BLOCK: Final = 2
SECTIONS: Final = 3
"""The recording is divided into so many parts, and a trend is steady if it is in each of them."""
NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class Trend:
    """A line through the medians of blocks of steps, by Theil (1950) and Sen (1968).

    Slopes are per step; `low` and `high` bound the 95 % interval of `slope`. `first` and `last` are
    the line at the first and at the last step. `sections` are the slopes of the parts.
    """

    slope: float
    low: float
    high: float
    first: float
    last: float
    sections: tuple[float, ...]

    @property
    def growth(self) -> float:
        """The growth from the first to the last step."""
        return self.last - self.first


def trend_of(number: Ints, value: Ints) -> Trend | None:
    """Return the trend of a value over the numbers of steps, None with too few steps."""
    count = min(MOST_BLOCKS, len(number) // STEPS_PER_BLOCK)
    if count < FEWEST_BLOCKS:
        return None
    blocks = np.array_split(np.arange(len(number)), count)
    at = np.array([float(np.mean(number[block])) for block in blocks])
    level = np.array([float(np.median(value[block])) for block in blocks])
    slopes = pair_slopes(at, level)
    slope = float(np.median(slopes))
    low, high = slope_interval(slopes, count)
    offset = float(np.median(level - slope * at))
    sections = [
        float(np.median(pair_slopes(at[part], level[part])))
        for part in np.array_split(np.arange(count), SECTIONS)
    ]
    return Trend(
        slope=slope,
        low=low,
        high=high,
        first=offset + slope * float(number[0]),
        last=offset + slope * float(number[-1]),
        sections=tuple(sections),
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
