"""What a thread of the host did, as interval sets: the grounds on which a device's idle time is
attributed.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column, of_category, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, Spans
from perfscope.traces.trace import Trace

SAVES = re.compile(
    r"torch/serialization\.py\(\d+\): (save|_save)$|torch/distributed/checkpoint/.*: (async_)?save$"
)
"""Python functions, as the profiler names them, that write checkpoints."""


@dataclass(frozen=True)
class Calls:
    """Calls that waited for the device, in order of `begin`: rows of `launches`, begin and end in
    ns.
    """

    row: Ints
    begin: Ints
    end: Ints


@dataclass(frozen=True)
class ThreadWork:
    """Sorted disjoint interval sets of one thread, ns; `first` is its first recorded event (None:
    nothing recorded).
    """

    overhead: Spans
    checkpoint: Spans
    loading: Spans
    waits: Calls
    first_ns: int | None


def thread_work(trace: Trace, process: int, tid: int) -> ThreadWork:
    """What one thread did."""
    wanted = {"ops": (), "launches": ("kind",), "ranges": ("category", "name"), "loader": ()}
    own = {
        name: _of_thread(table(trace, name), process, tid, others)
        for name, others in wanted.items()
    }
    starts = [
        int(column(frame, "ts").min()) for frame in own.values() if frame is not None and len(frame)
    ]
    return ThreadWork(
        overhead=spans_of(of_category(own["ranges"], "overhead")),
        checkpoint=spans_of(saves(own["ranges"])),
        loading=spans_of(own["loader"]),
        waits=_waits(trace, own["launches"]),
        first_ns=min(starts) if starts else None,
    )


def _of_thread(
    frame: pd.DataFrame | None, process: int, tid: int, others: tuple[str, ...]
) -> pd.DataFrame | None:
    """`ts`, `dur` and the columns asked for, of the rows of one thread."""
    if frame is None:
        return None
    mine = (column(frame, "process") == process) & (column(frame, "tid") == tid)
    own: pd.DataFrame = frame[["ts", "dur", *others]][mine]
    return own


def saves(ranges: pd.DataFrame | None) -> pd.DataFrame | None:
    """The ranges that write checkpoints, known by category or by the name of the function."""
    if ranges is None:
        return None
    by_name = pd.Index([name for name in ranges["name"].cat.categories if SAVES.search(name)])
    found: pd.DataFrame = ranges[
        (ranges["category"] == "checkpoint") | ranges["name"].isin(by_name)
    ]
    return found


def _waits(trace: Trace, calls: pd.DataFrame | None) -> Calls:
    """Synchronising calls, and copies whose call returned only when the copy was done."""
    if calls is None or not len(calls):
        none = np.empty(0, np.int64)
        return Calls(none, none, none)
    row = calls.index.to_numpy(np.int64)
    begin, end = column(calls, "ts"), column(calls, "ts") + column(calls, "dur")
    waits = (calls["kind"] == "sync").to_numpy() | _blocking(trace, row, end)
    order = np.argsort(begin[waits], kind="stable")
    return Calls(row[waits][order], begin[waits][order], end[waits][order])


def _blocking(trace: Trace, row: Ints, end: Ints) -> NDArray[np.bool_]:
    """Which calls (rows of `launches` that return at `end`) outlasted the copy they started."""
    copies = table(trace, "copies")
    started = column(copies, "launch")
    known = started >= 0
    if not known.any():
        return np.zeros(len(row), bool)
    done = (column(copies, "ts") + column(copies, "dur"))[known]
    order = np.argsort(started[known], kind="stable")
    by_row, done = started[known][order], done[order]
    at = np.minimum(np.searchsorted(by_row, row), len(by_row) - 1)
    return np.asarray((by_row[at] == row) & (end >= done[at]))
