"""The row of its track that an event is drawn in: by nesting on threads, by free rows on streams.

Events of a row never overlap.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.timeline.lane import Events
from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing

# Recorders that write microseconds round a start and a duration each: two kernels back to back may
# then overlap by this.
ROUNDING_NS = 1_000


def nesting_depths(thread: Ints, ts: Ints, dur: Ints) -> Ints:
    """Return how many events of its thread enclose each event; those of one depth never overlap."""
    jump = enclosing(thread, ts, ts + dur)
    depth = (jump >= 0).astype(np.int64)
    active = np.flatnonzero(jump >= 0)
    while len(active):
        above = jump[active]
        depth[active] += depth[above]
        jump[active] = jump[above]
        active = active[jump[active] >= 0]
    return depth


def serial_rows(events: Events, most: int) -> tuple[list[Events], int]:
    """Return the rows of a queue, whose events run one after the other, and how many do not fit.

    It is one row, with further ones where events overlap by more than rounding.
    """
    if not len(events):
        return [], 0
    after = np.append(events.ts[1:], np.iinfo(np.int64).max)
    over = events.ts + events.dur - after
    clipped = np.where(
        (over > 0) & (over <= ROUNDING_NS), np.maximum(after - events.ts, 0), events.dur
    )
    events = Events(events.ts, clipped, events.code, events.source, events.row)
    row = free_rows(events.ts, events.ts + clipped)
    rows = min(int(row.max()) + 1, most)
    return [events.where(row == number) for number in range(rows)], int((row >= most).sum())


def free_rows(ts: Ints, end: Ints) -> NDArray[np.int64]:
    """Return, per event (sorted by start), the first row that is free then.

    Only events that overlap are visited one by one.
    """
    row = np.zeros(len(ts), np.int64)
    reach = np.maximum.accumulate(end)
    alone = np.concatenate(([True], ts[1:] >= reach[:-1]))
    several = ~(alone & np.append(alone[1:], True))
    free: list[int] = []
    ends: list[tuple[int, int]] = []
    for at in np.flatnonzero(several):
        if alone[at]:
            free, ends, used = [], [], 0
        begin = int(ts[at])
        while ends and ends[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(ends)[1])
        if free:
            row[at] = heapq.heappop(free)
        else:
            row[at], used = used, used + 1
        heapq.heappush(ends, (int(end[at]), int(row[at])))
    return row
