"""Interval algebra on int64 nanoseconds: unions, and how much of a window is covered by which kind, the first kind winning."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Spans = tuple[Ints, Ints]

EMPTY: Spans = (np.empty(0, np.int64), np.empty(0, np.int64))


def merged(*several: Spans) -> Spans:
    """The union of interval sets as sorted disjoint (starts, ends), int64 ns; empty and negative intervals vanish."""
    starts = np.concatenate([spans[0] for spans in several]) if several else EMPTY[0]
    ends = np.concatenate([spans[1] for spans in several]) if several else EMPTY[1]
    real = ends > starts
    starts, ends = starts[real], ends[real]
    if not len(starts):
        return EMPTY
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    first = np.concatenate(([True], starts[1:] > reach[:-1]))
    return starts[first], reach[np.concatenate((first[1:], [True]))]


def covered(spans: Spans, begin: Ints, end: Ints) -> Ints:
    """Nanoseconds of each window [begin, end) that lie in the disjoint sorted `spans`."""
    return _before(spans, np.maximum(begin, end)) - _before(spans, begin)


def _before(spans: Spans, at: Ints) -> Ints:
    """Nanoseconds of `spans` that lie before each instant."""
    starts, ends = spans
    if not len(starts):
        return np.zeros(len(at), np.int64)
    total = np.concatenate(([0], np.cumsum(ends - starts)))
    index = np.searchsorted(starts, at, side="right")
    inside = np.maximum(ends[np.maximum(index - 1, 0)] - at, 0)
    return np.where(index > 0, total[index] - np.where(index > 0, inside, 0), 0).astype(np.int64)


def inside(spans: Spans, at: Ints) -> NDArray[np.bool_]:
    """For each instant: does it lie in the disjoint sorted `spans`?"""
    starts, ends = spans
    if not len(starts):
        return np.zeros(len(at), bool)
    index = np.searchsorted(starts, at, side="right") - 1
    return (index >= 0) & (at < ends[np.maximum(index, 0)])


def exclusive(kinds: list[Spans], begin: Ints, end: Ints) -> list[Ints]:
    """Per kind, nanoseconds of each window that it covers and no earlier kind does: together never more than the
    window.
    """
    taken: Spans = EMPTY
    before = np.zeros(len(begin), np.int64)
    shares = []
    for spans in kinds:
        taken = merged(taken, spans)
        now = covered(taken, begin, end)
        shares.append(now - before)
        before = now
    return shares
