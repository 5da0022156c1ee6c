"""Interval algebra against counting single nanoseconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfscope.traces.intervals import Spans, covered, exclusive, inside, merged

SPAN = 60
spans = st.lists(st.tuples(st.integers(0, SPAN), st.integers(0, SPAN)), max_size=8)


def arrays(pairs: list[tuple[int, int]]) -> Spans:
    return np.array([one[0] for one in pairs], np.int64), np.array(
        [one[1] for one in pairs], np.int64
    )


def points(pairs: list[tuple[int, int]]) -> set[int]:
    return {at for begin, end in pairs for at in range(begin, end)}


@given(spans, spans)
def test_a_union_is_disjoint_sorted_and_covers_the_same(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    starts, ends = merged(arrays(one), arrays(other))
    assert points(list(zip(starts.tolist(), ends.tolist(), strict=True))) == points(one) | points(
        other
    )
    assert (ends > starts).all() and (starts[1:] > ends[:-1]).all()


@given(spans, spans)
def test_cover_of_a_window_is_exact(
    one: list[tuple[int, int]], windows: list[tuple[int, int]]
) -> None:
    begin, end = arrays(windows)
    want = [len(points(one) & set(range(first, last))) for first, last in windows]
    assert covered(merged(arrays(one)), begin, np.maximum(begin, end)).tolist() == want


@given(spans, spans)
def test_of_two_kinds_the_first_wins_and_nothing_counts_twice(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    begin, end = np.array([0]), np.array([SPAN])
    first, second = exclusive([merged(arrays(one)), merged(arrays(other))], begin, end)
    assert [int(first[0]), int(second[0])] == [len(points(one)), len(points(other) - points(one))]


@given(spans, st.lists(st.integers(0, SPAN), max_size=10))
def test_points_inside(one: list[tuple[int, int]], at: list[int]) -> None:
    assert inside(merged(arrays(one)), np.array(at, np.int64)).tolist() == [
        point in points(one) for point in at
    ]
