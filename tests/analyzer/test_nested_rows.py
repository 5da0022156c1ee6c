"""Rows that enclose each other, compared with climbing from row to row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfscope.analyzer.run import nested_rows
from perfscope.analyzer.run.nested_rows import (
    are_within,
    nearest_of_group,
    nearest_of_group_in_deep_nest,
    nearest_rows,
    outermost_rows,
    sums_within,
)


@st.composite
def forests(draw: st.DrawFn) -> list[int]:
    """Return the parent of each row: of a forest, in any order of the rows."""
    count = draw(st.integers(0, 30))
    parents = [draw(st.integers(max(-1, row - 4), row - 1)) for row in range(count)]
    new = draw(st.permutations(range(count)))
    moved = [-1] * count
    for row, parent in enumerate(parents):
        moved[new[row]] = new[parent] if parent >= 0 else -1
    return moved


def path(parents: list[int], row: int) -> list[int]:
    """Return a row and the rows around it, innermost first."""
    found = []
    while row >= 0:
        found.append(row)
        row = parents[row]
    return found


@given(forests(), st.integers(0, 2**30))
def test_answers_are_those_of_climbing(parents: list[int], seed: int) -> None:
    rng, count = np.random.default_rng(seed), len(parents)
    parent = np.array(parents, np.int64)
    group = rng.integers(0, 3, count)
    wanted = rng.integers(0, 4, count) == 0
    amount = rng.integers(0, 100, count).astype(np.float64)
    paths = [path(parents, row) for row in range(count)]
    assert outermost_rows(parent).tolist() == [rows[-1] for rows in paths]
    nearest = [next((at for at in rows if wanted[at]), -1) for rows in paths]
    assert nearest_rows(wanted, parent).tolist() == nearest
    assert are_within(wanted, parent).tolist() == [at >= 0 for at in nearest]
    whole = np.zeros(count)
    for rows, added in zip(paths, amount.tolist(), strict=True):
        whole[rows] += added
    assert sums_within(parent, amount).tolist() == whole.tolist()
    same = [next((at for at in rows[1:] if group[at] == group[rows[0]]), -1) for rows in paths]
    asked = rng.integers(0, count, 2 * count)
    assert nearest_of_group(group, parent, asked).tolist() == [same[at] for at in asked.tolist()]
    assert nearest_of_group_in_deep_nest(group, parent).tolist() == same


def test_a_deep_nest_takes_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, rounds = 1 << 16, list[int]()

    class Counted:
        """numpy, which counts the rounds."""

        def __getattr__(self, name: str) -> object:
            return getattr(np, name)

        def where(self, *parts: object) -> object:
            rounds.append(1)
            return np.where(*parts)  # type: ignore[call-overload]

    monkeypatch.setattr(nested_rows, "np", Counted())
    parent = np.arange(-1, depth - 1)
    assert outermost_rows(parent).tolist() == [0] * depth
    assert sums_within(parent, np.ones(depth))[0] == depth
    kinds = np.where(np.arange(depth) < 2, 0, np.arange(depth))
    kinds[-2:] = 1  # the same, and next to each other
    inner = nearest_of_group(kinds, parent, np.arange(depth))
    assert inner.tolist() == [-1, 0, *[-1] * (depth - 3), depth - 2]
    assert len(rounds) < 100
