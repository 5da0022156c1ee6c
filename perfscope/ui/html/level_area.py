"""A level over time as plain markup: an area that is cut out of a rectangle by its outline."""

import math

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.number_text import digits
from perfscope.traces.intervals import Ints
from perfscope.ui.html.markup import escape

FEWEST_LABELS = 4
TICKS = (1.0, 0.5, 0.2)
"""Distances of round instants, as parts of a power of ten."""


def level_area(time_ns: Ints, level: Ints, category: str, unit: str) -> str:
    """Return the chart of a level that stays the same from each instant until the next.

    `time_ns` (n,) int64 ascending; `level` (n,) int64, not negative; n is at least 1.
    """
    highest = max(int(level.max()), 1)
    begin_ns, end_ns = int(time_ns[0]), max(int(time_ns[-1]), int(time_ns[0]) + 1)
    across = 100 * (time_ns - begin_ns) / (end_ns - begin_ns)
    down = 100 - 100 * level / highest
    corners = [(0.0, 100.0), *stairs(across, down), (100.0, 100.0)]
    outline = ",".join(f"{x:.2f}% {y:.1f}%" for x, y in corners)
    times = time_labels(begin_ns / 1e9, end_ns / 1e9)
    return (
        '<div class="level-chart"><div class="levels">'
        f"<span>{digits(highest)}</span><span>{escape(unit)}</span><span>0</span></div>"
        f'<div class="plane"><div class="area" style="--c:var(--{category});'
        f'clip-path:polygon({outline})"></div></div><div class="times">{times}</div></div>'
    )


def time_labels(begin_s: float, end_s: float) -> str:
    """Return round instants between two, each at its place."""
    size = 10.0 ** math.ceil(math.log10(end_s - begin_s))
    distances = [part * size / ten for ten in (1, 10) for part in TICKS]
    distance_s = next(each for each in distances if (end_s - begin_s) / each >= FEWEST_LABELS)
    first, last = math.ceil(begin_s / distance_s), math.floor(end_s / distance_s)
    labels = []
    for number in range(first, last + 1):
        time_s = number * distance_s
        place = 100 * (time_s - begin_s) / (end_s - begin_s)
        labels.append(f'<span style="left:{place:.2f}%">{time_s:.6g} s</span>')
    return "".join(labels)


def stairs(across: NDArray[np.float64], down: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the corners of a line with a step at each instant."""
    corners = [(float(across[0]), float(down[0]))]
    for x, y in zip(across[1:], down[1:], strict=True):
        corners += [(float(x), corners[-1][1]), (float(x), float(y))]
    return corners
