"""Which interval lies in which, for the calls of a thread."""

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints


def enclosing(thread: Ints, start: Ints, end: Ints, may_hold: NDArray[np.bool_] | None = None) -> Ints:
    """For each interval the row of the innermost interval of its thread that is open when it starts, -1 for none.

    All int64, in any order; of intervals with one start the longer holds the shorter. With `may_hold` (bool) only rows
    where it is true hold others.
    """
    order = np.lexsort((-end, start, thread))
    thread, start, end = thread[order], start[order], end[order]
    if may_hold is not None:
        end = np.where(may_hold[order], end, start)
    # What holds a row is the one before it, or what holds that one, and so on: all rows climb at once, and in strides,
    # since a row that is climbed to has often climbed already.
    holder = np.arange(-1, len(order) - 1, dtype=np.int64)
    climbing = np.flatnonzero(holder >= 0)
    while len(climbing):
        at = holder[climbing]
        climbing = climbing[(thread[at] != thread[climbing]) | (end[at] <= start[climbing])]
        holder[climbing] = holder[holder[climbing]]
        climbing = climbing[holder[climbing] >= 0]
    found = np.full(len(order), -1, np.int64)
    found[order] = np.where(holder >= 0, order[holder], -1)
    return found
