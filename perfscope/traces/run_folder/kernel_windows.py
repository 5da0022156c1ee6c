"""The profiling windows of a run folder: the traces that torch's profiler wrote in them, as tables
of the run.

Kineto writes wall-clock times. When the probe opened the window it read both clocks once. With that
pair the times are converted to the monotonic clock of the process, and from there to job time.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.clocks import Clock
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.trace_file import read_trace
from perfscope.traces.naming import COLLECTIVE_RUNS, MARKS_OF_TORCH
from perfscope.traces.run_folder.cell_types import is_time, is_wall_time, is_whole
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.trace import Trace, make_table

FOLDER: Final = "kineto"
FILE_NAME: Final = re.compile(r"rank\d+(-\d+)?\.json\.gz")
CLOCK_READINGS: Final = ("mono", "first", "begin", "end", "last", "steps")
ROW_COLUMNS: Final = {
    "ops": ("parent", "ops"),
    "launches": ("op", "ops"),
    "kernels": ("launch", "launches"),
    "copies": ("launch", "launches"),
}
"""Table -> (its column of row numbers, the table that they refer to). The numbers are shifted when
several traces are joined.
"""
FILLED_TABLES: Final = (*ROW_COLUMNS, "collectives", "memory", "devices", "threads")
WINDOW_TABLES: Final = (*FILLED_TABLES, "windows")
TRACES_IN_MEMORY: Final = 32
MOST_READ: Final = 8
"""Windows that are read per process, the newest: all windows of a run show much the same."""
MOST_WINDOWS: Final = 100_000
LONGEST_WINDOW_NS: Final = 86_400_000_000_000

Note = dict[str, Any]
"""A row of the stream `kernels`, which the probe writes for each window."""


@dataclass(frozen=True)
class ProfiledWindow:
    """A window of one process. `path` is its trace, None for a window whose trace is not read."""

    process: int
    note: Note
    path: Path | None


def window_tables(
    run: StoredRun | GrowingRun, clock: Clock, wanted: Collection[str]
) -> tuple[dict[str, pd.DataFrame], int]:
    """Return the wanted tables of WINDOW_TABLES, and `ranges` from the traces of the windows; and
    how many windows could not be read.
    """
    windows, unreadable = read_windows(run)
    joined = JoinedTraces(clock)
    if any(name in wanted for name in FILLED_TABLES):
        for window in windows:
            if window.path is not None:
                unreadable += not joined.add(window, window.path)
    tables = joined.tables()
    if windows:
        tables["windows"] = window_table(windows, clock)
    return {name: table for name, table in tables.items() if name in wanted}, unreadable


def read_windows(run: StoredRun | GrowingRun) -> tuple[list[ProfiledWindow], int]:
    """Return the windows of a run, and how many of its notes could not be used.

    The trace of a window is not read when the trace was deleted to make room, when newer windows of
    the process suffice, and when the window was a trial of the profiler (in run folders of older
    versions).
    """
    notes = list(run.rows("kernels"))
    unread_names = deleted_names(notes) | older_names(notes)
    windows: list[ProfiledWindow] = []
    unusable = 0
    paths: set[Path] = set()
    for process, note in notes:
        if "gone" in note:
            continue
        name = note.get("name")
        is_unread = note.get("trial") is True or (isinstance(name, str) and name in unread_names)
        path = None if is_unread else trace_path(run.path, name)
        is_missing = path is None and not is_unread
        is_full = len(windows) >= MOST_WINDOWS
        if is_missing or is_full or path in paths or not has_clock_readings(note):
            unusable += 1
            continue
        if path is not None:
            paths.add(path)
        windows.append(ProfiledWindow(process, note, path))
    return windows, unusable


def has_clock_readings(note: Note) -> bool:
    """Return whether a note has all its clock readings."""
    has_times = all(is_time(note.get(name)) for name in CLOCK_READINGS)
    return has_times and is_wall_time(note.get("real"))


def deleted_names(notes: list[tuple[int, Note]]) -> set[str]:
    """Return the names of traces that were deleted to make room."""
    names = (note.get("gone") for _, note in notes)
    return {name for name in names if isinstance(name, str)}


def older_names(notes: list[tuple[int, Note]]) -> set[str]:
    """Return the names of all traces but the MOST_READ newest of each process."""
    names_of_process: dict[int, list[str]] = {}
    for process, note in notes:
        name = note.get("name")
        if isinstance(name, str):
            names_of_process.setdefault(process, []).append(name)
    return {name for names in names_of_process.values() for name in names[:-MOST_READ]}


def trace_path(folder: Path, name: object) -> Path | None:
    """Return the path of a trace in a run folder, None for a name that perfscope does not use and
    for a file that is missing. Links are not followed.
    """
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
        return None
    path = folder / FOLDER / name
    is_link = path.is_symlink() or path.parent.is_symlink()
    return path if path.is_file() and not is_link else None


@lru_cache(TRACES_IN_MEMORY)
def cached_window_trace(path: Path, changed_ns: int) -> Trace:
    """Return the Trace of a window, from a cache because a growing run is read repeatedly.

    `changed_ns` is part of the key: a file that has changed is read again.
    """
    return read_trace(path)


class JoinedTraces:
    """The tables of several traces, joined in job time and with the process codes of the run."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.parts: dict[str, list[pd.DataFrame]] = {
            name: [] for name in (*FILLED_TABLES, "ranges")
        }

    def add(self, window: ProfiledWindow, path: Path) -> bool:
        """Add the trace of a window. Return False for a trace that cannot be read, or that does not
        fit its window.
        """
        try:
            trace = cached_window_trace(path, path.stat().st_mtime_ns)
        except (UnreadableRun, OSError):
            return False
        wall_to_monotonic_ns = window.note["mono"] - window.note["real"]
        zero_ns = trace.manifest.zero_realtime_ns + wall_to_monotonic_ns
        begin_ns, end_ns = trace.span_ns
        if not is_time(zero_ns) or end_ns - begin_ns > LONGEST_WINDOW_NS:
            return False
        first_rows = {name: sum(map(len, self.parts[name])) for name in FILLED_TABLES}
        for name, parts in self.parts.items():
            table = trace.table(name)
            if table is not None and name == "ranges":
                table = profiler_only_ranges(table)
            if table is not None and len(table):
                parts.append(self.convert_to_run(name, table, window.process, zero_ns, first_rows))
        return True

    def convert_to_run(
        self,
        name: str,
        table: pd.DataFrame,
        process: int,
        zero_ns: int,
        first_rows: dict[str, int],
    ) -> pd.DataFrame:
        """Return a table of a trace with the process code, times and row numbers of the run.

        `zero_ns` is the trace's time zero on the monotonic clock of the process.
        """
        table = table.assign(process=np.int64(process))
        if "ts" in table:
            monotonic_ns = table["ts"].to_numpy(np.int64) + zero_ns
            table["ts"] = self.clock.job_ns(process, monotonic_ns)
        if name in ROW_COLUMNS:
            column, target = ROW_COLUMNS[name]
            row = table[column].to_numpy(np.int64)
            table[column] = np.where(row >= 0, row + first_rows[target], -1)
        return table.astype(dict.fromkeys(table.select_dtypes("category"), object))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables that have rows."""
        tables = {}
        for name, parts in self.parts.items():
            if parts:
                joined = pd.concat(parts, ignore_index=True)
                tables[name] = make_table(name, {str(column): joined[column] for column in joined})
        return tables


def profiler_only_ranges(ranges: pd.DataFrame) -> pd.DataFrame:
    """Return annotations of the program and of torch's collectives, without the marks of torch that
    the probe records as well.
    """
    name = ranges["name"].astype(str).str
    is_collective = name.startswith(COLLECTIVE_RUNS)
    is_annotation = ranges["category"] == "annotation"
    return ranges[is_collective | (is_annotation & ~name.startswith(MARKS_OF_TORCH))]


def window_table(windows: list[ProfiledWindow], clock: Clock) -> pd.DataFrame:
    """Return table `windows`."""

    def instants(name: str) -> Ints:
        instant_of = [
            int(clock.job_ns(window.process, np.array([window.note[name]]))[0])
            for window in windows
        ]
        return np.array(instant_of, np.int64)

    first = instants("first")
    stalls = [window.note.get("stall") for window in windows]
    return make_table(
        "windows",
        {
            "process": [window.process for window in windows],
            "ts": first,
            "dur": instants("last") - first,
            "begin": instants("begin"),
            "end": instants("end"),
            "steps": [window.note["steps"] for window in windows],
            "stall_ns": [stall if is_whole(stall) else -1 for stall in stalls],
            "kept": [window.path is not None for window in windows],
        },
    )
