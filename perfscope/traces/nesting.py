"""Finds the interval around each interval of a thread, such as the caller of each call."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

try:
    from perfscope.traces.kineto import compiled_reader
except ImportError:  # installed without a compiler
    compiled_reader = None  # type: ignore[assignment]
COMPILED: Any = getattr(compiled_reader, "holders", None)


def enclosing(
    thread: Ints, start: Ints, end: Ints, may_hold: NDArray[np.bool_] | None = None
) -> Ints:
    """Return for each interval the row of the innermost interval of its thread that is open when it
    starts, -1 for none.

    The intervals are int64, in any order. Of intervals with the same start, the longer encloses the
    shorter. With `may_hold`, only rows where it is true enclose others.
    """
    order = order_of_calls(thread, start, end)
    thread, start, end = (
        column[order].astype(np.int64, copy=False) for column in (thread, start, end)
    )
    if may_hold is not None:
        end = np.where(may_hold[order], end, start)
    if COMPILED is None:
        holder = enclosing_in_numpy(thread, start, end)
    else:
        holder = np.frombuffer(COMPILED(thread, start, end), np.int64)
    row = np.full(len(order), -1, np.int64)
    row[order] = np.where(holder >= 0, order[holder], -1)
    return row


def order_of_calls(thread: Ints, start: Ints, end: Ints) -> Ints:
    """Return the order of intervals by thread, then start, then the longest first.

    Recorders write events in order of time, or nearly. So they are sorted by start, then by thread
    as 16-bit numbers (a radix sort), and then only those with equal starts by length. That takes a
    third of the time of one sort by all three.
    """
    if thread.max(initial=0) > np.iinfo(np.int16).max or thread.min(initial=0) < 0:
        return np.lexsort((-end, start, thread))
    by_start = np.argsort(start, kind="stable")
    order = by_start[np.argsort(thread[by_start].astype(np.int16), kind="stable")]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(thread[order]) != 0) | (np.diff(start[order]) != 0)
    tied = np.flatnonzero(~is_first | ~np.append(is_first[1:], True))
    rows, group = order[tied], np.cumsum(is_first[tied])
    order[tied] = rows[np.lexsort((-end[rows], group))]
    return order


def enclosing_in_numpy(thread: Ints, start: Ints, end: Ints) -> Ints:
    """Return, for sorted intervals, the position of the innermost one around each, -1 for none.

    The compiled reader computes the same faster.
    """
    # The interval around a row is the previous row, or the one around that, and so on. All rows
    # climb at the same time. A row that others climb to has often climbed itself already, so they
    # climb several levels at once.
    holder = np.arange(-1, len(start) - 1, dtype=np.int64)
    climbing = np.flatnonzero(holder >= 0)
    while len(climbing):
        at = holder[climbing]
        climbing = climbing[(thread[at] != thread[climbing]) | (end[at] <= start[climbing])]
        holder[climbing] = holder[holder[climbing]]
        climbing = climbing[holder[climbing] >= 0]
    return holder
