"""Algebra of intervals in int64 nanoseconds: unions, differences, and the time of a window that
they cover.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Spans = tuple[Ints, Ints]

EMPTY: Spans = (np.empty(0, np.int64), np.empty(0, np.int64))


def merged(*several: Spans) -> Spans:
    """Return the union of sets of intervals as sorted, disjoint (starts, ends). Empty and negative
    intervals are dropped.
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


def single_interval(begin_ns: int, end_ns: int) -> Spans:
    """Return one interval."""
    return np.array([begin_ns], np.int64), np.array([end_ns], np.int64)


def length_ns(spans: Spans) -> int:
    """Return the time that disjoint `spans` cover."""
    starts, ends = spans
    return int((ends - starts).sum())


def covered(spans: Spans, begin: Ints, end: Ints) -> Ints:
    """Return the nanoseconds of each window [begin, end) that sorted, disjoint `spans` cover."""
    return covered_before(spans, np.maximum(begin, end)) - covered_before(spans, begin)


def covered_before(spans: Spans, at: Ints) -> Ints:
    """Return how many nanoseconds of `spans` are before each instant."""
    starts, ends = spans
    if not len(starts):
        return np.zeros(len(at), np.int64)
    total = np.concatenate(([0], np.cumsum(ends - starts)))
    index = np.searchsorted(starts, at, side="right")
    inside = np.maximum(ends[np.maximum(index - 1, 0)] - at, 0)
    return np.where(index > 0, total[index] - np.where(index > 0, inside, 0), 0).astype(np.int64)


def inside(spans: Spans, at: Ints) -> NDArray[np.bool_]:
    """Return for each instant whether it is in the sorted, disjoint `spans`."""
    starts, ends = spans
    if not len(starts):
        return np.zeros(len(at), bool)
    index = np.searchsorted(starts, at, side="right") - 1
    return (index >= 0) & (at < ends[np.maximum(index, 0)])


def exclusive(kinds: list[Spans], begin: Ints, end: Ints) -> list[Ints]:
    """Return for each kind how many nanoseconds of each window it covers and no earlier kind does.
    Their sum is at most the window.
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
    """Return what the sorted, disjoint `spans` cover and `taken` does not."""
    starts, ends, label = labeled_intervals([taken, spans])
    only_spans = label == 1
    return merged((starts[only_spans], ends[only_spans]))


def intersected(first: Spans, other: Spans) -> Spans:
    """Return what both sorted, disjoint sets cover."""
    edges = instants_of([first, other])
    both = inside(first, edges[:-1]) & inside(other, edges[:-1])
    return merged((edges[:-1][both], edges[1:][both]))


def covered_alone(several: list[Spans]) -> list[Spans]:
    """Return, for each of the sorted, disjoint sets, what it covers and no other one does."""
    count = [len(spans[0]) for spans in several]
    owner = np.repeat(np.arange(len(several)), count)
    at = np.concatenate([EMPTY[0], *(spans[0] for spans in several), *(e[1] for e in several)])
    opens = np.repeat(np.array([1, -1]), len(owner))
    order = np.argsort(at, kind="stable")
    at, opens, owners = at[order], opens[order], (opens * np.tile(owner, 2))[order]
    # Where one set is open, the sum of the numbers of the open sets is its number.
    is_alone = (np.cumsum(opens)[:-1] == 1) & (at[1:] > at[:-1])
    starts, ends, owner = at[:-1][is_alone], at[1:][is_alone], np.cumsum(owners)[:-1][is_alone]
    order = np.argsort(owner, kind="stable")
    edges = np.searchsorted(owner[order], np.arange(1, len(several)))
    parts = np.split(order, edges)[: len(several)]
    return [merged((starts[rows], ends[rows])) for rows in parts]


def open_from(spans: Spans, edges: Ints) -> NDArray[np.bool_]:
    """Return for each edge whether one of the sorted, disjoint `spans` covers the time after it.
    All spans start and end at edges.
    """
    change = np.zeros(len(edges), np.int8)
    change[np.searchsorted(edges, spans[0])] += 1
    change[np.searchsorted(edges, spans[1])] -= 1
    return np.cumsum(change, dtype=np.int8) > 0


def instants_of(kinds: list[Spans]) -> Ints:
    """Return every instant at which an interval starts or ends, in order."""
    if not kinds:
        return EMPTY[0]
    # A stable sort merges parts that are sorted already: five times as fast as the default one.
    edges = np.sort(np.concatenate([end for spans in kinds for end in spans]), kind="stable")
    return edges[np.concatenate(([True], edges[1:] > edges[:-1]))] if len(edges) else edges


def labeled_intervals(kinds: list[Spans]) -> tuple[Ints, Ints, Ints]:
    """Return (starts, ends, labels): the union of all kinds, cut into pieces at every start and
    end. The label of a piece is the number of the first kind that covers it.

    Each kind is a sorted, disjoint set of intervals.
    """
    edges = instants_of(kinds)
    label = np.full(max(len(edges) - 1, 0), -1, np.int64)
    for number in range(len(kinds) - 1, -1, -1):
        if len(kinds[number][0]):
            label[open_from(kinds[number], edges)[:-1]] = number
    is_covered = label >= 0
    return edges[:-1][is_covered], edges[1:][is_covered], label[is_covered]
