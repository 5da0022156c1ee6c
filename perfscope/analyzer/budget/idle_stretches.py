"""Each stretch in which a device stood idle, and what ended it: the next thing that ran, who
launched it and when.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import Unit
from perfscope.traces.intervals import Ints, Spans
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Idle:
    """One entry a gap. `launch` is the row of `launches` that started what came next, -1 unknown or
    nothing came.

    `tid` is the thread that made it, else the one that launches most (-1: none does); `launched`
    and `returned` are when that call began and ended, the end of the gap where it is not known.
    """

    begin: Ints
    end: Ints
    launch: Ints
    tid: Ints
    launched: Ints
    returned: Ints


def idle(trace: Trace, unit: Unit, gaps: Spans) -> Idle:
    """What ended each of these gaps of a device."""
    begin, end = gaps
    launch = _launch_of_next(trace, unit, end)
    calls = table(trace, "launches")
    if calls is None or not len(calls):
        nothing = np.full(len(begin), -1, np.int64)
        return Idle(
            begin, end, nothing, np.full(len(begin), _main_tid(trace, unit), np.int64), end, end
        )
    known = launch >= 0
    ts, dur, tid = (
        column(calls, "ts")[launch],
        column(calls, "dur")[launch],
        column(calls, "tid")[launch],
    )
    usual = busiest_tid(tid[known]) if known.any() else _main_tid(trace, unit)
    return Idle(
        begin=begin,
        end=end,
        launch=launch,
        tid=np.where(known, tid, usual),
        launched=np.where(known, ts, end),
        returned=np.where(known, ts + dur, end),
    )


def _launch_of_next(trace: Trace, unit: Unit, instants: Ints) -> Ints:
    """For each instant the launch of the first kernel or copy that starts then or later, -1 where
    none is known.
    """
    frames = [rows_on(trace, name, unit) for name in ("kernels", "copies")]
    ts = np.concatenate([column(frame, "ts") for frame in frames])
    launch = np.concatenate([column(frame, "launch") for frame in frames])
    if not len(ts):
        return np.full(len(instants), -1, np.int64)
    order = np.lexsort((launch < 0, ts))  # of those that start together one whose launch is known
    ts, launch = ts[order], np.append(launch[order], -1)
    found: Ints = launch[np.searchsorted(ts, instants, side="left")]
    return found


def busiest_tid(tids: Ints) -> int:
    """The most frequent value, -1 of none."""
    values, counts = np.unique(tids, return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else -1


def _main_tid(trace: Trace, unit: Unit) -> int:
    """The thread that launches most, else the one that runs most operators or Python functions."""
    for name in ("launches", "ops", "ranges"):
        frame = table(trace, name)
        tids = column(frame, "tid")[column(frame, "process") == unit.process]
        if len(tids):
            return busiest_tid(tids)
    return -1
