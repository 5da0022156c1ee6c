"""The windows of torch's profiler in a run folder: their traces as tables of the run, in the run's time and process codes.

Kineto writes wall-clock times; the probe wrote down one pair of both clocks when it opened the window, and by that pair the
times become those of the process's monotonic clock, and of the job.
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
from perfscope.traces.naming import COLLECTIVE_RUNS, MARKS_OF_TORCH
from perfscope.traces.readers import kineto
from perfscope.traces.run.growing import GrowingRun
from perfscope.traces.run.stored import StoredRun
from perfscope.traces.trace import Trace, framed

FOLDER = "kineto"
NAME = re.compile(r"rank\d+(-\d+)?\.json\.gz")
NUMBERS = ("mono", "real", "first", "begin", "end", "last", "steps")
ROWS_OF = {"ops": ("parent", "ops"), "launches": ("op", "ops"), "kernels": ("launch", "launches")}
"""Columns that hold rows of another table: these move when several traces are put behind each other."""
TAKEN = (*ROWS_OF, "collectives", "memory", "devices", "threads")
OF_WINDOWS = (*TAKEN, "windows")
KEPT = 32
MOST_READ = 8
"""Of one process the newest windows: a run that takes one a minute shows much the same in each."""


def window_tables(
    run: StoredRun | GrowingRun, clock: Clock, wanted: Collection[str]
) -> tuple[dict[str, pd.DataFrame], int]:
    """`windows`, and the wanted ones of the tables that the traces of those windows fill.

    And how many could not be read. Of very many the newest are read; the others, a trial, and a trace that was dropped to make
    room have but their row in `windows`.
    """
    rows: list[tuple[int, dict[str, int], bool]] = []
    torn = 0
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in (*TAKEN, "ranges")}
    told = list(run.rows("kernels"))
    gone = {row["gone"] for _, row in told if isinstance(row.get("gone"), str)}
    gone |= older(told)
    for process, row in told:
        if "gone" in row:
            continue
        dropped = row.get("name") in gone or row.get("trial") is True
        path = None if dropped else stored(run.path, row.get("name"))
        if (path is None and not dropped) or not all(isinstance(row.get(one), int) for one in NUMBERS):
            torn += 1
            continue
        rows.append((process, row, path is not None))
        if path is None or not any(name in wanted for name in TAKEN):
            continue
        try:
            trace = whole(path, path.stat().st_mtime_ns)
        except (UnreadableRun, OSError):
            torn += 1
            continue
        taken_in(parts, trace, process, trace.manifest.zero_realtime_ns + row["mono"] - row["real"], clock)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in parts.items() if found}
    made = {name: framed(name, {str(one): frame[one] for one in frame}) for name, frame in tables.items()}
    made |= {"windows": window_rows(rows, clock)} if rows else {}
    return {name: frame for name, frame in made.items() if name in wanted}, torn


def older(told: list[tuple[int, dict[str, Any]]]) -> set[Any]:
    """Names of the traces beyond the MOST_READ newest of each process."""
    names: dict[int, list[Any]] = {}
    for process, row in told:
        if "name" in row:
            names.setdefault(process, []).append(row["name"])
    return {name for each in names.values() for name in each[:-MOST_READ]}


@lru_cache(KEPT)
def whole(path: Path, written_ns: int) -> Trace:
    """A trace as Kineto's reader has it; remembered, for a run that is looked at again and again while it grows."""
    return kineto.read(path)


def stored(folder: Path, name: object) -> Path | None:
    """The file of a window, if it is one of ours in that folder."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return None
    path = folder / FOLDER / name
    return path if path.is_file() and not path.is_symlink() and not path.parent.is_symlink() else None


def taken_in(parts: dict[str, list[pd.DataFrame]], trace: Trace, process: int, zero_ns: int, clock: Clock) -> None:
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
        return np.array([int(clock.job_ns(process, np.array([row[name]]))[0]) for process, row, _ in rows], np.int64)

    first = instants("first")
    stalls = [row.get("stall") for _, row, _ in rows]
    columns = {
        "process": [process for process, _, _ in rows],
        "ts": first,
        "dur": instants("last") - first,
        "begin": instants("begin"),
        "end": instants("end"),
        "steps": [row["steps"] for _, row, _ in rows],
        "stall_ns": [stall if isinstance(stall, int) else -1 for stall in stalls],
        "kept": [kept for _, _, kept in rows],
    }
    return framed("windows", columns)
