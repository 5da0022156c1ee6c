"""Where a word occurs in the names on the timeline: how often, how densely, and the next hit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.timeline.track import Lanes
from perfscope.traces.intervals import Ints

BINS = 512


@dataclass(frozen=True)
class Hit:
    """An event whose name contains the word; `at` is its number in the lane."""

    lane: int
    at: int
    ts_ns: int
    dur_ns: int
    code: int


@dataclass(frozen=True)
class Hits:
    """All events whose name contains the word.

    `density`: events per BINS-th of the span; `ts` and `at`: per lane with hits, their starts
    (sorted) and their numbers in the lane.
    """

    codes: list[int]
    count: int
    density: NDArray[np.int64]
    ts: dict[int, Ints]
    at: dict[int, Ints]


def search(lanes: Lanes, words: str) -> Hits:
    """Return the hits of `words` anywhere in a name, ignoring case; none without words."""
    wanted = words.strip().lower()
    codes = [
        code for code, text in enumerate(lanes.names.texts) if wanted and wanted in text.lower()
    ]
    flags = np.zeros(len(lanes.names), bool)
    flags[codes] = True
    begin, end = lanes.span_ns
    density = np.zeros(BINS, np.int64)
    ts: dict[int, Ints] = {}
    at: dict[int, Ints] = {}
    for number, lane in enumerate(lanes.lanes):
        is_hit = flags[lane.codes]
        if not is_hit.any():
            continue
        found = np.flatnonzero(is_hit[lane.key & lane.mask])
        ts[number], at[number] = lane.ts[found], found
        bins = ((lane.ts[found] - begin) * (BINS / (end - begin))).astype(np.int64)
        density += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
    return Hits(codes, int(density.sum()), density, ts, at)


def next_hit(lanes: Lanes, hits: Hits, after: tuple[int, int], forward: bool = True) -> Hit | None:
    """Return the next (or previous) hit from `after`, an instant and a lane; None at the end.

    Hits are in order of time, then of lanes.
    """
    best: tuple[int, int, int] | None = None
    for number, ts in hits.ts.items():
        side = "right" if (number <= after[1]) == forward else "left"
        place = int(np.searchsorted(ts, after[0], "right" if side == "right" else "left"))
        place = place if forward else place - 1
        if not 0 <= place < len(ts):
            continue
        candidate = (int(ts[place]), number, int(hits.at[number][place]))
        if best is None or (candidate < best if forward else candidate > best):
            best = candidate
    if best is None:
        return None
    instant, number, at = best
    lane = lanes.lanes[number]
    event = slice(at, at + 1)
    return Hit(number, at, instant, int(lane.dur(event)[0]), int(lane.code(event)[0]))
