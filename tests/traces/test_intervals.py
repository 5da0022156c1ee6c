"""Interval algebra, compared with counting single nanoseconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfscope.traces.intervals import (
    Spans,
    covered,
    covered_alone,
    exclusive,
    inside,
    merged,
)

SPAN = 60
spans = st.lists(st.tuples(st.integers(0, SPAN), st.integers(0, SPAN)), max_size=8)


def arrays(pairs: list[tuple[int, int]]) -> Spans:
    begins = np.array([begin for begin, _ in pairs], np.int64)
    ends = np.array([end for _, end in pairs], np.int64)
    return begins, ends


def points(pairs: list[tuple[int, int]]) -> set[int]:
    return {at for begin, end in pairs for at in range(begin, end)}


@given(spans, spans)
def test_a_union_is_disjoint_sorted_and_covers_the_same(
    pairs: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    starts, ends = merged(arrays(pairs), arrays(other))
    union = list(zip(starts.tolist(), ends.tolist(), strict=True))
    assert points(union) == points(pairs) | points(other)
    assert (ends > starts).all() and (starts[1:] > ends[:-1]).all()


@given(spans, spans)
def test_the_covered_time_of_a_window_is_exact(
    pairs: list[tuple[int, int]], windows: list[tuple[int, int]]
) -> None:
    begin, end = arrays(windows)
    want = [len(points(pairs) & set(range(first, last))) for first, last in windows]
    assert covered(merged(arrays(pairs)), begin, np.maximum(begin, end)).tolist() == want


@given(spans, spans)
def test_time_of_two_kinds_counts_once_for_the_first(
    pairs: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    begin, end = np.array([0]), np.array([SPAN])
    first, second = exclusive([merged(arrays(pairs)), merged(arrays(other))], begin, end)
    assert int(first[0]) == len(points(pairs))
    assert int(second[0]) == len(points(other) - points(pairs))


@given(spans, st.lists(st.integers(0, SPAN), max_size=10))
def test_a_point_is_inside_where_an_interval_contains_it(
    pairs: list[tuple[int, int]], at: list[int]
) -> None:
    expected = [point in points(pairs) for point in at]
    assert inside(merged(arrays(pairs)), np.array(at, np.int64)).tolist() == expected


@given(st.lists(spans, max_size=5))
def test_what_one_set_alone_covers_is_exact(sets: list[list[tuple[int, int]]]) -> None:
    found = covered_alone([merged(arrays(pairs)) for pairs in sets])
    assert len(found) == len(sets)
    for number, (starts, ends) in enumerate(found):
        others = [points(pairs) for other, pairs in enumerate(sets) if other != number]
        alone = points(sets[number]) - set().union(*others)
        assert points(list(zip(starts.tolist(), ends.tolist(), strict=True))) == alone
