"""Which interval lies in which, for the calls of a thread."""

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
    """For each interval the row of the innermost interval of its thread that is open when it
    starts, -1 for none.

    All int64, in any order; of intervals with one start the longer holds the shorter. With
    `may_hold` (bool) only rows where it is true hold others.
    """
    order = np.lexsort((-end, start, thread))
    thread, start, end = (one[order].astype(np.int64, copy=False) for one in (thread, start, end))
    if may_hold is not None:
        end = np.where(may_hold[order], end, start)
    holder = (
        climbed(thread, start, end)
        if COMPILED is None
        else np.frombuffer(COMPILED(thread, start, end), np.int64)
    )
    found = np.full(len(order), -1, np.int64)
    found[order] = np.where(holder >= 0, order[holder], -1)
    return found


def climbed(thread: Ints, start: Ints, end: Ints) -> Ints:
    """What holds each of these sorted intervals, in numpy: the same as the compiled way, slower."""
    # What holds a row is the one before it, or what holds that one, and so on: all rows climb at
    # once, and in strides, since a row that is climbed to has often climbed already.
    holder = np.arange(-1, len(start) - 1, dtype=np.int64)
    climbing = np.flatnonzero(holder >= 0)
    while len(climbing):
        at = holder[climbing]
        climbing = climbing[(thread[at] != thread[climbing]) | (end[at] <= start[climbing])]
        holder[climbing] = holder[holder[climbing]]
        climbing = climbing[holder[climbing] >= 0]
    return holder
