"""Levels over time as plain markup: areas that are cut out of a rectangle by their outlines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.ui.html.markup import escape

MOST_BUCKETS = 500
FEWEST_LABELS = 4
TICKS = (1.0, 0.5, 0.2)
"""Distances of round instants, as parts of a power of ten."""


@dataclass(frozen=True)
class Level:
    """A level that stays the same from each instant until the next; `values` (n,) int64, below 0
    where it is not known.
    """

    name: str
    category: str
    values: Ints


def level_area(time_ns: Ints, levels: Sequence[Level], highest_text: str, unit: str) -> str:
    """Return the chart of levels, the first one behind the others.

    `time_ns` (n,) int64 ascending, n at least 1. `highest_text`: the highest value as text. Long
    series are thinned to the lowest and the highest value of MOST_BUCKETS intervals.
    """
    highest = max(1, *(int(level.values.max()) for level in levels))
    begin_ns, end_ns = int(time_ns[0]), max(int(time_ns[-1]), int(time_ns[0]) + 1)
    areas = ""
    for level in levels:
        kept = extreme_positions(level.values)
        across = 100 * (time_ns[kept] - begin_ns) / (end_ns - begin_ns)
        down = 100 - 100 * level.values[kept].clip(min=0) / highest
        areas += area(across, down, level.category)
    return (
        f'{legend(levels)}<div class="level-chart"><div class="levels">'
        f"<span>{escape(highest_text)}</span><span>{escape(unit)}</span><span>0</span></div>"
        f'<div class="plane">{areas}</div>'
        f'<div class="times">{time_labels(begin_ns, end_ns)}</div></div>'
    )


def legend(levels: Sequence[Level]) -> str:
    """Return the names of the levels with their colors; nothing for one level."""
    if len(levels) < 2:
        return ""
    entries = "".join(
        f'<span><i style="--c:var(--{level.category})"></i>{escape(level.name)}</span>'
        for level in levels
    )
    return f'<div class="legend">{entries}</div>'


def area(across: NDArray[np.float64], down: NDArray[np.float64], category: str) -> str:
    """Return the area of a level; its places are in percent of the plane, from the top left."""
    end = (float(across[-1]), 100.0)
    corners = [(0.0, 100.0), *stairs(across, down), end]
    outline = ",".join(f"{x:.2f}% {y:.1f}%" for x, y in corners)
    return f'<div class="area" style="--c:var(--{category});clip-path:polygon({outline})"></div>'


def extreme_positions(values: Ints) -> Ints:
    """Return the positions of the lowest and the highest value of each bucket, in order."""
    if len(values) <= 2 * MOST_BUCKETS:
        return np.arange(len(values), dtype=np.int64)
    edges = np.linspace(0, len(values), MOST_BUCKETS + 1).astype(np.int64)
    pairs = [
        (begin + int(values[begin:end].argmin()), begin + int(values[begin:end].argmax()))
        for begin, end in pairwise(edges)
    ]
    return np.unique(np.array(pairs, np.int64))


def time_labels(begin_ns: int, end_ns: int) -> str:
    """Return round instants between two different ones, each at its place."""
    begin_s, span_s = begin_ns / 1e9, (end_ns - begin_ns) / 1e9
    size = 10.0 ** math.ceil(math.log10(span_s))
    distances = [part * size / ten for ten in (1, 10) for part in TICKS]
    distance_s = next(each for each in distances if span_s / each >= FEWEST_LABELS)
    first, last = math.ceil(begin_s / distance_s), math.floor((begin_s + span_s) / distance_s)
    labels = []
    for number in range(first, last + 1):
        time_s = number * distance_s
        place = 100 * (time_s - begin_s) / span_s
        labels.append(f'<span style="left:{place:.2f}%">{time_s:.6g} s</span>')
    return "".join(labels)


def stairs(across: NDArray[np.float64], down: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the corners of a line with a step at each instant."""
    corners = [(float(across[0]), float(down[0]))]
    for x, y in zip(across[1:], down[1:], strict=True):
        corners += [(float(x), corners[-1][1]), (float(x), float(y))]
    return corners
