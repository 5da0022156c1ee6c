"""Interval algebra on int64 nanoseconds: unions, differences, and what covers a window, the first
kind winning.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Spans = tuple[Ints, Ints]

EMPTY: Spans = (np.empty(0, np.int64), np.empty(0, np.int64))


def merged(*several: Spans) -> Spans:
    """The union of interval sets as sorted disjoint (starts, ends), int64 ns; empty and negative
    intervals vanish.
    """
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
    """Per kind, nanoseconds of each window that it covers and no earlier kind does: together never
    more than the window.
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


def subtracted(spans: Spans, taken: Spans) -> Spans:
    """What the disjoint sorted `spans` cover and `taken` do not, sorted and disjoint."""
    starts, ends, label = labelled([taken, spans])
    mine = label == 1
    return merged((starts[mine], ends[mine]))


def intersected(one: Spans, other: Spans) -> Spans:
    """What both disjoint sorted sets cover, sorted and disjoint."""
    edges = edges_of([one, other])
    both = inside(one, edges[:-1]) & inside(other, edges[:-1])
    return merged((edges[:-1][both], edges[1:][both]))


def open_from(spans: Spans, edges: Ints) -> NDArray[np.bool_]:
    """For each edge: does one of the disjoint sorted `spans`, which start and end at edges, go on
    from there?
    """
    change = np.zeros(len(edges), np.int8)
    change[np.searchsorted(edges, spans[0])] += 1
    change[np.searchsorted(edges, spans[1])] -= 1
    return np.cumsum(change, dtype=np.int8) > 0


def edges_of(kinds: list[Spans]) -> Ints:
    """Every instant at which one of them starts or ends, in order."""
    edges = (
        np.sort(np.concatenate([end for spans in kinds for end in spans])) if kinds else EMPTY[0]
    )
    return edges[np.concatenate(([True], edges[1:] > edges[:-1]))] if len(edges) else edges


def labelled(kinds: list[Spans]) -> tuple[Ints, Ints, Ints]:
    """(starts, ends, label): the union of all kinds cut into pieces, each with the number of the
    first kind that covers it.

    The kinds are disjoint sorted sets; a piece ends wherever any kind starts or ends.
    """
    edges = edges_of(kinds)
    label = np.full(max(len(edges) - 1, 0), -1, np.int64)
    for number in range(len(kinds) - 1, -1, -1):
        label[open_from(kinds[number], edges)[:-1]] = number
    some = label >= 0
    return edges[:-1][some], edges[1:][some], label[some]
