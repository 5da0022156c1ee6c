"""What a thread of the host did, as interval sets; they explain why a device is idle."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column, rows_of_category, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, Spans
from perfscope.traces.trace import Trace

SAVES = re.compile(
    r"torch/serialization\.py\(\d+\): (save|_save)$|torch/distributed/checkpoint/.*: (async_)?save$"
)
"""Python functions, as the profiler names them, that write checkpoints."""
COLUMNS_READ = {"ops": (), "launches": ("kind",), "ranges": ("category", "name"), "loader": ()}


@dataclass(frozen=True)
class Calls:
    """Calls that waited for the device, in order of `begin`: rows of `launches`, begin and end."""

    row: Ints
    begin: Ints
    end: Ints


@dataclass(frozen=True)
class ThreadWork:
    """Sorted disjoint interval sets of one thread, ns.

    `first_ns` is its first recorded event (None: nothing was recorded).
    """

    overhead: Spans
    checkpoint: Spans
    loading: Spans
    waits: Calls
    first_ns: int | None


def thread_work(trace: Trace, process: int, tid: int) -> ThreadWork:
    """Return what one thread did."""
    tables: dict[str, pd.DataFrame | None] = {}
    starts = []
    for name, columns in COLUMNS_READ.items():
        frame = columns_of_thread(table_rows(trace, name, process), tid, columns)
        tables[name] = frame
        if frame is not None and len(frame):
            starts.append(int(column(frame, "ts").min()))
    return ThreadWork(
        overhead=spans_of(rows_of_category(tables["ranges"], "overhead")),
        checkpoint=spans_of(saves(trace, tables["ranges"])),
        loading=spans_of(tables["loader"]),
        waits=waiting_calls(trace, tables["launches"]),
        first_ns=min(starts) if starts else None,
    )


def columns_of_thread(
    frame: pd.DataFrame | None, tid: int, columns: tuple[str, ...]
) -> pd.DataFrame | None:
    """Return the rows of one thread; of several threads only `ts`, `dur` and these columns."""
    if frame is None:
        return None
    of_thread = column(frame, "tid") == tid
    return frame if of_thread.all() else frame[["ts", "dur", *columns]][of_thread]


def saves(trace: Trace, ranges: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the ranges that write checkpoints, known by category or by the function's name.

    `ranges` are rows of the table.
    """
    if ranges is None:
        return None
    by_name = trace.fact(saving_names)[ranges["name"].cat.codes.to_numpy()]
    is_save = by_name | (ranges["category"] == "checkpoint").to_numpy(bool)
    return ranges[is_save] if is_save.any() else ranges.iloc[:0]


def saving_names(trace: Trace) -> NDArray[np.bool_]:
    """Return for each code of `ranges.name` whether it is a function that writes checkpoints."""
    ranges = table(trace, "ranges")
    names = [] if ranges is None else ranges["name"].cat.categories.tolist()
    return np.array([*(SAVES.search(name) is not None for name in names), False])


def waiting_calls(trace: Trace, calls: pd.DataFrame | None) -> Calls:
    """Return synchronizing calls, and copies whose call returned only when the copy was done."""
    if calls is None or not len(calls):
        empty = np.empty(0, np.int64)
        return Calls(empty, empty, empty)
    row = calls.index.to_numpy(np.int64)
    begin, end = column(calls, "ts"), column(calls, "ts") + column(calls, "dur")
    waits = (calls["kind"] == "sync").to_numpy() | waits_for_copy(trace, row, end)
    order = np.argsort(begin[waits], kind="stable")
    return Calls(row[waits][order], begin[waits][order], end[waits][order])


def copies_by_launch(trace: Trace) -> tuple[Ints, Ints]:
    """Return the rows of `launches` that began a copy, in order, and when each copy was done."""
    copies = table(trace, "copies")
    started = column(copies, "launch")
    known = np.flatnonzero(started >= 0)
    done = column(copies, "ts") + column(copies, "dur")
    order = known[np.argsort(started[known], kind="stable")]
    return started[order], done[order]


def waits_for_copy(trace: Trace, row: Ints, end: Ints) -> NDArray[np.bool_]:
    """Return which calls (rows of `launches`, returning at `end`) outlasted the copy they began."""
    by_row, done = trace.fact(copies_by_launch)
    if not len(by_row):
        return np.zeros(len(row), bool)
    copy = np.minimum(np.searchsorted(by_row, row), len(by_row) - 1)
    return np.asarray((by_row[copy] == row) & (end >= done[copy]))
