"""Each interval in which a device was idle, and the launch of the work that ended it."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.budget_units import Unit
from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.thread_intervals import busiest_tid
from perfscope.traces.intervals import Ints, Spans
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Idle:
    """Columns with one value per gap: int64, instants in nanoseconds.

    `launch` is the row of `launches` that started the next work, -1 where it is unknown or nothing
    came. `tid` is the thread that made this call, else the one that launches most (-1: none does).
    `launched` and `returned` are when the call began and ended, the end of the gap where unknown.
    """

    begin: Ints
    end: Ints
    launch: Ints
    tid: Ints
    launched: Ints
    returned: Ints


def idle(trace: Trace, unit: Unit, gaps: Spans) -> Idle:
    """Return the work that ended each gap of a device; `gaps` are (begins, ends)."""
    begin, end = gaps
    launch = launch_of_next_work(trace, unit, end)
    calls = table(trace, "launches")
    if calls is None or not len(calls):
        unknown = np.full(len(begin), -1, np.int64)
        tid = np.full(len(begin), main_tid(trace, unit), np.int64)
        return Idle(begin, end, unknown, tid, end, end)
    known = launch >= 0
    ts, dur = column(calls, "ts")[launch], column(calls, "dur")[launch]
    tid = column(calls, "tid")[launch]
    usual = busiest_tid(tid[known]) if known.any() else main_tid(trace, unit)
    return Idle(
        begin=begin,
        end=end,
        launch=launch,
        tid=np.where(known, tid, usual),
        launched=np.where(known, ts, end),
        returned=np.where(known, ts + dur, end),
    )


def launch_of_next_work(trace: Trace, unit: Unit, instants: Ints) -> Ints:
    """Return, for each instant, the launch of the first kernel or copy that starts at it or later.

    The result has the length of `instants`: rows of `launches`, -1 where none is known. If several
    start at the same time, one whose launch is known is preferred.
    """
    frames = [rows_on(trace, name, unit) for name in ("kernels", "copies")]
    ts = np.concatenate([column(frame, "ts") for frame in frames])
    launch = np.concatenate([column(frame, "launch") for frame in frames])
    if not len(ts):
        return np.full(len(instants), -1, np.int64)
    order = np.lexsort((launch < 0, ts))
    ts, launch = ts[order], np.append(launch[order], -1)
    found: Ints = launch[np.searchsorted(ts, instants, side="left")]
    return found


def main_tid(trace: Trace, unit: Unit) -> int:
    """Return the thread that launches most, else the one that runs most operators or functions."""
    for name in ("launches", "ops", "ranges"):
        tids = column(table_rows(trace, name, unit.process), "tid")
        if len(tids):
            return busiest_tid(tids)
    return -1
