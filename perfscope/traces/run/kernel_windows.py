"""The windows of torch's profiler in a run folder: their traces as tables of the run, in the run's
time and process codes.

Kineto writes wall-clock times; the probe wrote down one pair of both clocks when it opened the
window, and by that pair the times become those of the process's monotonic clock, and of the job.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perfscope.errors import UnreadableRun
from perfscope.traces.clocks import Clock
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.trace_file import read_trace
from perfscope.traces.naming import COLLECTIVE_RUNS, MARKS_OF_TORCH
from perfscope.traces.run.cells import is_time, is_wall_time, is_whole
from perfscope.traces.run.growing import GrowingRun
from perfscope.traces.run.stored import StoredRun
from perfscope.traces.trace import Trace, framed

FOLDER = "kineto"
NAME = re.compile(r"rank\d+(-\d+)?\.json\.gz")
NUMBERS = ("mono", "real", "first", "begin", "end", "last", "steps")
ROWS_OF = {"ops": ("parent", "ops"), "launches": ("op", "ops"), "kernels": ("launch", "launches")}
"""Columns that hold rows of another table: these move when several traces are put behind each
other.
"""
TAKEN = (*ROWS_OF, "collectives", "memory", "devices", "threads")
OF_WINDOWS = (*TAKEN, "windows")
KEPT = 32
MOST_READ = 8
"""Of one process the newest windows: a run that takes one a minute shows much the same in each."""
MOST_WINDOWS = 100_000
LONGEST_WINDOW_NS = 86_400_000_000_000


def window_tables(
    run: StoredRun | GrowingRun, clock: Clock, wanted: Collection[str]
) -> tuple[dict[str, pd.DataFrame], int]:
    """`windows`, and the wanted ones of the tables that the traces of those windows fill.

    And how many could not be read. Of very many the newest are read; the others, a trial, and a
    trace that was dropped to make room have but their row in `windows`.
    """
    rows: list[tuple[int, dict[str, int], bool]] = []
    torn = 0
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in (*TAKEN, "ranges")}
    notes = list(run.rows("kernels"))
    gone = {row["gone"] for _, row in notes if isinstance(row.get("gone"), str)} | older(notes)
    taken: set[Path] = set()
    for process, row in notes:
        if "gone" in row:
            continue
        name = row.get("name")
        dropped = (isinstance(name, str) and name in gone) or row.get("trial") is True
        path = None if dropped else stored(run.path, name)
        if (
            (path is None and not dropped)
            or not has_times(row)
            or path in taken
            or len(rows) >= MOST_WINDOWS
        ):
            torn += 1
            continue
        rows.append((process, row, path is not None))
        if path is None or not any(name in wanted for name in TAKEN):
            continue
        taken.add(path)
        torn += not taken_from(path, parts, (process, row), clock)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in parts.items() if found}
    made = {
        name: framed(name, {str(one): frame[one] for one in frame})
        for name, frame in tables.items()
    }
    made |= {"windows": window_rows(rows, clock)} if rows else {}
    return {name: frame for name, frame in made.items() if name in wanted}, torn


def has_times(row: dict[str, Any]) -> bool:
    """Return whether the note on a window has all its clock readings."""
    return is_wall_time(row.get("real")) and all(
        is_time(row.get(one)) for one in NUMBERS if one != "real"
    )


def taken_from(
    path: Path, parts: dict[str, list[pd.DataFrame]], note: tuple[int, dict[str, Any]], clock: Clock
) -> bool:
    """Add the trace at `path` to the parts; False where it cannot be read, or is not of a
    window.
    """
    process, row = note
    try:
        trace = whole(path, path.stat().st_mtime_ns)
    except (UnreadableRun, OSError):
        return False
    zero_ns = trace.manifest.zero_realtime_ns + row["mono"] - row["real"]
    if not is_time(zero_ns) or trace.span_ns[1] - trace.span_ns[0] > LONGEST_WINDOW_NS:
        return False
    taken_in(parts, trace, process, zero_ns, clock)
    return True


def older(told: list[tuple[int, dict[str, Any]]]) -> set[Any]:
    """Names of the traces beyond the MOST_READ newest of each process."""
    names: dict[int, list[Any]] = {}
    for process, row in told:
        if isinstance(row.get("name"), str):
            names.setdefault(process, []).append(row["name"])
    return {name for each in names.values() for name in each[:-MOST_READ]}


@lru_cache(KEPT)
def whole(path: Path, written_ns: int) -> Trace:
    """A trace as Kineto's reader has it; remembered, for a run that is looked at again and again
    while it grows.
    """
    return read_trace(path)


def stored(folder: Path, name: object) -> Path | None:
    """The file of a window, if it is one of ours in that folder."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return None
    path = folder / FOLDER / name
    return (
        path if path.is_file() and not path.is_symlink() and not path.parent.is_symlink() else None
    )


def taken_in(
    parts: dict[str, list[pd.DataFrame]], trace: Trace, process: int, zero_ns: int, clock: Clock
) -> None:
    """Add one trace: `zero_ns` is its time zero on the monotonic clock of the process."""
    before = {name: sum(map(len, parts[name])) for name in TAKEN}
    for name in parts:
        frame = trace.table(name)
        if frame is not None and name == "ranges":  # torch's own marks the probe has seen itself
            named = frame["name"].astype(object).str
            others = (frame["category"] == "annotation") & ~named.startswith(MARKS_OF_TORCH)
            frame = frame[named.startswith(COLLECTIVE_RUNS) | others]
        if frame is None or not len(frame):
            continue
        frame = frame.assign(process=np.int64(process))
        if "ts" in frame:
            frame["ts"] = clock.job_ns(process, frame["ts"].to_numpy(np.int64) + zero_ns)
        if name in ROWS_OF:
            column, of = ROWS_OF[name]
            row = frame[column].to_numpy(np.int64)
            frame[column] = np.where(row >= 0, row + before[of], -1)
        parts[name].append(frame.astype(dict.fromkeys(frame.select_dtypes("category"), object)))


def window_rows(rows: list[tuple[int, dict[str, int], bool]], clock: Clock) -> pd.DataFrame:
    """The table `windows`."""

    def instants(name: str) -> Ints:
        return np.array(
            [int(clock.job_ns(process, np.array([row[name]]))[0]) for process, row, _ in rows],
            np.int64,
        )

    first = instants("first")
    stalls: list[Any] = [row.get("stall") for _, row, _ in rows]
    columns = {
        "process": [process for process, _, _ in rows],
        "ts": first,
        "dur": instants("last") - first,
        "begin": instants("begin"),
        "end": instants("end"),
        "steps": [row["steps"] for _, row, _ in rows],
        "stall_ns": [stall if is_whole(stall) else -1 for stall in stalls],
        "kept": [kept for _, _, kept in rows],
    }
    return framed("windows", columns)
