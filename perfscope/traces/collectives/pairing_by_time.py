"""Pairs the collectives of two ranks by the times at which they end, where either recording lacks
some of them.

A profiler whose buffer overflows loses single records, and every later index is off by one. A
collective ends at the same instant on all ranks, so a run of equal gaps between ends gives the
offset of the clocks. From a run on, both sequences are walked together, and collectives that only
one of them has are skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.traces.clock_offset import MOST_DRIFT
from perfscope.traces.intervals import Ints

OFFSET_GAIN: Final = 0.25
"""The share of each pair's time difference that is added to the offset of the clocks. It is enough
for a drift, and a single late end hardly moves it.
"""
MOST_ANCHORS: Final = 4
"""Runs from which the walk is tried. The longest may be wrong by one period where everything
repeats.
"""
SHORTEST_RUN: Final = 3

PlacePairs = tuple[Ints, Ints]
"""Places in the first sequence, and the places in the second that are paired with them."""


@dataclass(frozen=True)
class Ends:
    """The collectives of one rank in a process group, in order: their signatures, and when they
    end.
    """

    signature: Ints
    end_ns: Ints

    def __len__(self) -> int:
        return len(self.end_ns)

    def after(self, place: int) -> "Ends":
        """Return the collectives from a place on."""
        return Ends(self.signature[place:], self.end_ns[place:])

    def before_reversed(self, place: int) -> "Ends":
        """Return the collectives before a place, backwards in time."""
        return Ends(self.signature[:place][::-1], -self.end_ns[:place][::-1])


@dataclass(frozen=True)
class Anchor:
    """A pair of places that is known to be one collective: the middle of a long run."""

    first: int
    second: int


def pair_by_time(first: Ends, second: Ends, lags: Sequence[int], slack_ns: int) -> PlacePairs:
    """Return the places of two sequences that are one collective; empty where nothing fits.

    `lags` are the places of the first at which the second may begin, the likeliest first. Ends
    within `slack_ns` of each other are at the same time.
    """
    runs = []
    for order, lag in enumerate(lags):
        run = longest_run(first, second, lag, slack_ns)
        if run is not None:
            length, begin = run
            runs.append((length, -order, begin, lag))
    best: PlacePairs = (np.empty(0, np.int64), np.empty(0, np.int64))
    for length, _, begin, lag in sorted(runs, reverse=True)[:MOST_ANCHORS]:
        middle_place = begin + length // 2
        anchor = Anchor(middle_place, middle_place - lag)
        pairs = walk_from(first, second, anchor, slack_ns)
        if len(pairs[0]) > len(best[0]):
            best = pairs
    return best


def longest_run(first: Ends, second: Ends, lag: int, slack_ns: int) -> tuple[int, int] | None:
    """Return (length, place in the first) of the longest run in which all signatures and all times
    between ends are equal; None where each run is shorter than SHORTEST_RUN.
    """
    low, high = max(lag, 0), min(len(first), len(second) + lag)
    if high - low < SHORTEST_RUN:
        return None
    same_kind = first.signature[low:high] == second.signature[low - lag : high - lag]
    first_gap = np.diff(first.end_ns[low:high])
    second_gap = np.diff(second.end_ns[low - lag : high - lag])
    same_gap = np.abs(first_gap - second_gap) <= slack_ns + MOST_DRIFT * np.abs(first_gap)
    agrees = same_kind[1:] & same_kind[:-1] & same_gap
    breaks = np.flatnonzero(np.r_[True, ~agrees, True])
    longest = int(np.argmax(np.diff(breaks)))
    length = int(breaks[longest + 1] - breaks[longest])
    return (length, low + int(breaks[longest])) if length >= SHORTEST_RUN else None


def walk_from(first: Ends, second: Ends, anchor: Anchor, slack_ns: int) -> PlacePairs:
    """Return the pairs that a walk from the anchor to the end and to the beginning finds."""
    offset_ns = int(first.end_ns[anchor.first] - second.end_ns[anchor.second])
    after = walk_together(
        first.after(anchor.first), second.after(anchor.second), offset_ns, slack_ns
    )
    before = walk_together(
        first.before_reversed(anchor.first),
        second.before_reversed(anchor.second),
        -offset_ns,
        slack_ns,
    )
    return (
        np.concatenate([anchor.first - 1 - before[0][::-1], anchor.first + after[0]]),
        np.concatenate([anchor.second - 1 - before[1][::-1], anchor.second + after[1]]),
    )


def walk_together(first: Ends, second: Ends, offset_ns: float, slack_ns: int) -> PlacePairs:
    """Return the pairs found by walking through both sequences. Collectives of one kind that end
    together are paired; otherwise the earlier one is skipped.

    `offset_ns` is the clock of the first less that of the second.
    """
    kinds, ends = first.signature.tolist(), first.end_ns.tolist()
    other_kinds, other_ends = second.signature.tolist(), second.end_ns.tolist()
    places: list[int] = []
    other_places: list[int] = []
    at = other_at = 0
    last_end = ends[0] if ends else 0
    while at < len(ends) and other_at < len(other_ends):
        difference_ns = ends[at] - other_ends[other_at] - offset_ns
        allowed_ns = slack_ns + MOST_DRIFT * abs(ends[at] - last_end)
        if abs(difference_ns) <= allowed_ns and kinds[at] == other_kinds[other_at]:
            places.append(at)
            other_places.append(other_at)
            offset_ns += OFFSET_GAIN * difference_ns
            last_end = ends[at]
            at, other_at = at + 1, other_at + 1
        elif difference_ns < 0:
            at += 1
        else:
            other_at += 1
    return np.array(places, np.int64), np.array(other_places, np.int64)
