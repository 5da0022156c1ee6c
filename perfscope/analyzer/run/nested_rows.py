"""Questions about rows that enclose each other, given the row around each (`parent`, -1 for none).

Calls can be nested thousands deep, so no row climbs one level at a time: in each round it looks
twice as far up as in the one before.
"""

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing

Amounts = NDArray[np.float64]
LEVELS_CLIMBED = 32
"""Level by level, which is faster while few rows remain; few programs nest calls deeper."""


def outermost_rows(parent: Ints) -> Ints:
    """Return the outermost row around each row, which may be the row itself."""
    return nearest_rows(parent < 0, parent)


def nearest_rows(wanted: NDArray[np.bool_], parent: Ints) -> Ints:
    """Return the nearest wanted row at or around each row, -1 for none."""
    up = np.where(wanted, np.arange(len(parent)), parent)
    while True:
        further = np.where(up >= 0, up[up], -1) if len(up) else up
        if (further == up).all():
            return up
        up = further


def are_within(callers: NDArray[np.bool_], parent: Ints) -> NDArray[np.bool_]:
    """Return which rows are among `callers` or inside one of them."""
    return nearest_rows(callers, parent) >= 0


def sums_within(parent: Ints, amount: Amounts | Ints) -> Amounts:
    """Return, for each row, the sum of the amounts of it and of all rows inside it."""
    whole, up = amount.astype(np.float64), parent
    while (up >= 0).any():
        inner = np.flatnonzero(up >= 0)
        whole = whole + np.bincount(up[inner], weights=whole[inner], minlength=len(parent))
        up = np.where(up >= 0, up[up], -1)
    return whole


def nearest_of_group(group: Ints, parent: Ints, rows: Ints) -> Ints:
    """Return the nearest row around each of `rows` that is of its group, -1 for none."""
    found = np.full(len(rows), -1, np.int64)
    open_rows, at = np.arange(len(rows)), parent[rows]
    for _ in range(LEVELS_CLIMBED):
        open_rows, at = open_rows[at >= 0], at[at >= 0]
        is_same = group[at] == group[rows[open_rows]]
        found[open_rows[is_same]] = at[is_same]
        open_rows, at = open_rows[~is_same], parent[at[~is_same]]
        if not len(open_rows):
            return found
    found[open_rows] = nearest_of_group_in_deep_nest(group, parent)[rows[open_rows]]
    return found


def nearest_of_group_in_deep_nest(group: Ints, parent: Ints) -> Ints:
    """Return the `nearest_of_group` of all rows, in a time that does not depend on the depth."""
    size = sums_within(parent, np.ones(len(parent))).astype(np.int64)
    begin = depth_first_places(parent, size)
    return enclosing(group.astype(np.int64), begin, begin + size)


def depth_first_places(parent: Ints, size: Ints) -> Ints:
    """Return a number for each row, so that those inside it have the next `size - 1` numbers."""
    order = np.argsort(parent, kind="stable")
    before = np.cumsum(size[order]) - size[order]
    siblings = parent[order]
    first = np.searchsorted(siblings, siblings)
    offset = np.empty(len(parent), np.int64)
    offset[order] = before - before[first] if len(order) else before
    place, up = offset + (parent >= 0), parent
    while (up >= 0).any():
        inner = np.flatnonzero(up >= 0)
        place[inner] += place[up[inner]]
        up = np.where(up >= 0, up[up], -1)
    return place
