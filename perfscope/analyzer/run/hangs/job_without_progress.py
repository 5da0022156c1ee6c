"""A job in which nothing moves: its processes, and what each of their threads waits for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.resources.cumulative_counters import WHOLE, readings
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.trace import Trace

QUIET_SHARE: Final = 0.05
"""Of a core, of one process: threads that look for a change from time to time take less."""
BIN_NS: Final = 250_000_000
LONGEST_NS: Final = 3_600_000_000_000
"""Of a longer quiet time only this much is counted."""
STILL_AT_END_NS: Final = 2_500_000_000
"""The threads are read once more when a recording ends, which takes less than this."""
READ_EVERY_NS: Final = 12_000_000_000
"""In a recording that goes on the threads are read at least this often."""
PROBE_FILE: Final = "<perfscope "
FORKED: Final = re.compile(r"_bootstrap \(multiprocessing/process\.py:")
"""The first frame of a process of multiprocessing. A forked one has those of its parent above."""
LAUNCHING: Final = re.compile(
    r"\((torch/multiprocessing/spawn|torch/distributed/|accelerate/)"
    r"|(^|;)join \(multiprocessing/process\.py"
)
"""Frames of a thread that waits for the end of the processes it has started."""
OF_RANKS: Final = re.compile(r"\((torch/distributed/|torch/nn/parallel/distributed\.py)")
SPAWNED: Final = "multiprocessing/spawn.py"
LAUNCHER: Final = "launcher"
OTHER: Final = "other"
MAIN: Final = "main"
WORKER: Final = "loader-worker"
NOTHING: Final = ""


@dataclass(frozen=True)
class QuietThread:
    """A thread as it was last seen, with the fields of table `waits`; a text is "" if unknown.

    `stack_changed`: whether the program's own line changed between two dumps.
    """

    process: int
    tid: int
    is_main: bool
    name: str
    call: str
    kind: str
    target: str
    peer_pid: int
    peer: str
    limit_ns: int
    runs: int
    cpu_ns: int
    stack: str
    stack_changed: bool = False

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The frames of the thread in its own process, outermost first."""
        return own_labels(self.stack)

    @property
    def is_forked(self) -> bool:
        """Whether multiprocessing has forked its process: the frames of the parent are above."""
        return (
            bool(self.labels)
            and self.stack != ";".join(self.labels)
            and (SPAWNED not in self.stack)
        )

    @cached_property
    def line(self) -> Frame | None:
        """The program's own innermost line, None where it has none."""
        frames = [parse_frame(label) for label in self.labels]
        return next((frame for frame in reversed(frames) if frame.is_of_program), None)

    @cached_property
    def inner(self) -> str:
        """The frames below the program's own innermost line, joined by `;`."""
        names = list(self.labels)
        for at in range(len(names) - 1, -1, -1):
            if parse_frame(names[at]).is_of_program:
                return ";".join(names[at + 1 :])
        return ";".join(names)


@dataclass(frozen=True)
class QuietProcess:
    """A process of the job and its threads, the main thread first; `worker` is -1 if unknown."""

    process: int
    pid: int
    parent: int
    role: str
    rank: int
    worker: int
    name: str
    threads: tuple[QuietThread, ...]

    @property
    def main_thread(self) -> QuietThread | None:
        """The main thread, None where it was not read."""
        return next((thread for thread in self.threads if thread.is_main), None)

    @property
    def has_program(self) -> bool:
        """Whether its main thread runs the program's own code."""
        return self.main_thread is not None and self.main_thread.line is not None

    @property
    def python_threads(self) -> list[QuietThread]:
        """The threads other than the main one in which the program's own code runs."""
        return [thread for thread in self.threads if not thread.is_main and thread.line is not None]


@dataclass(frozen=True)
class QuietJob:
    """The processes of a job from `begin_ns` to the end of the recording, in which none moved."""

    begin_ns: int
    end_ns: int
    processes: dict[int, QuietProcess]
    since_attach: bool
    """Whether nothing has moved since the recording began."""

    @property
    def seconds(self) -> float:
        """How long nothing has moved, in seconds."""
        return (self.end_ns - self.begin_ns) / 1e9

    def mains(self) -> list[QuietProcess]:
        """Return the ranks, by their number."""
        mains = [process for process in self.processes.values() if process.role == MAIN]
        return sorted(mains, key=lambda main: (main.rank, main.process))

    def children(self, process: int) -> Iterator[QuietProcess]:
        """Yield the processes that a process has started."""
        return (other for other in self.processes.values() if other.parent == process)

    def by_pid(self, pid: int) -> QuietProcess | None:
        """Return the process of the job with a pid."""
        return next((other for other in self.processes.values() if other.pid == pid), None)


def own_labels(stack: str) -> tuple[str, ...]:
    """Return the frames of a stack, without those that a forked process has from its parent."""
    labels = stack.split(";") if stack else []
    for at in range(len(labels) - 1, -1, -1):
        if FORKED.match(labels[at]):
            return tuple(labels[at:])
    return tuple(labels)


def quiet_job(trace: Trace) -> QuietJob | None:
    """Return the job as it was when the recording ended, None where it moved then."""
    waits, processes = table(trace, "waits"), table(trace, "processes")
    if waits is None or processes is None or trace.has_profiled_work:
        return None
    first_ns, last_ns = recorded_span_ns(trace)
    rows = waits[column(waits, "period") == column(waits, "period").max()]
    begin_ns, end_ns = int(rows["ts"].min()), int(rows["ts"].max())
    if has_moved_since(trace, end_ns, last_ns):
        return None
    begin_ns = quiet_since(trace, begin_ns, first_ns)
    found = {}
    for _, row in processes.iterrows():
        process = process_of(row, rows)
        if process.threads:
            found[process.process] = process
    since_attach = begin_ns - first_ns <= STILL_AT_END_NS
    return QuietJob(begin_ns, end_ns, with_programs(found), since_attach) if found else None


def with_programs(found: dict[int, QuietProcess]) -> dict[int, QuietProcess]:
    """Return the processes, where what was taken for a launcher is a program that waits itself.

    A program that hangs does nothing but wait, like one that has spawned its ranks. It is one where
    its main thread waits for something other than their end, and none of them is a rank.
    """
    roles = {code: process.role for code, process in found.items()}
    for code, process in found.items():
        thread = process.main_thread
        if process.role != LAUNCHER or thread is None or thread.line is None:
            continue
        children = [other for other in found.values() if other.parent == code]
        if LAUNCHING.search(thread.inner) or any(map(uses_process_groups, children)):
            continue
        roles[code] = MAIN
        roles |= {child.process: OTHER for child in children if child.role == MAIN}
    return {code: replace(process, role=roles[code]) for code, process in found.items()}


def uses_process_groups(process: QuietProcess) -> bool:
    """Return whether a process uses torch's process groups."""
    return any(OF_RANKS.search(thread.stack) for thread in process.threads)


def has_moved_since(trace: Trace, read_ns: int, last_ns: int) -> bool:
    """Return whether the job may have moved since its threads were last read."""
    if read_ns >= last_ns - STILL_AT_END_NS:
        return False
    is_recent = read_ns >= last_ns - READ_EVERY_NS
    return not is_recent or quiet_since(trace, last_ns, read_ns) > read_ns + BIN_NS


def quiet_since(trace: Trace, known_ns: int, first_ns: int) -> int:
    """Return since when the CPU time of no process has grown much, at most `known_ns`."""
    frame = readings(trace, "cpu_ns")
    if frame is None:
        return known_ns
    frame = frame[(frame["tid"] == WHOLE) & (frame["process"] >= 0)]
    first_ns = max(first_ns, known_ns - LONGEST_NS)
    edges = np.arange(known_ns, first_ns - 1, -BIN_NS, dtype=np.int64)[::-1]
    if len(edges) < 2:
        return known_ns
    used_ns = np.zeros(len(edges) - 1)
    for _, of_process in frame.groupby("process"):
        cpu_ns = of_process["value"].to_numpy(np.float64)
        grown_ns = np.diff(np.interp(edges, column(of_process, "ts"), cpu_ns))
        used_ns = np.maximum(used_ns, grown_ns)
    busy = np.flatnonzero(used_ns > QUIET_SHARE * BIN_NS)
    return int(edges[busy[-1] + 1]) if len(busy) else int(edges[0])


def process_of(row: "pd.Series[Any]", waits: pd.DataFrame) -> QuietProcess:
    """Return a process of table `processes` with its threads."""
    of_process = waits[column(waits, "process") == int(row["process"])]
    return QuietProcess(
        process=int(row["process"]),
        pid=int(row["pid"]),
        parent=int(row["parent"]),
        role=str(row["role"]),
        rank=int(row["rank"]),
        worker=int(row["worker"]),
        name=text_of(row["name"]),
        threads=threads_of(of_process, int(row["ns_pid"])),
    )


def threads_of(rows: pd.DataFrame, main_tid: int) -> tuple[QuietThread, ...]:
    """Return the threads of a process that were there at the end, without those of the probe."""
    if not len(rows):
        return ()
    last_ns = int(rows["ts"].max())
    found = []
    for tid, of_thread in rows.groupby("tid", sort=True):
        last = of_thread.iloc[-1]
        if int(last["ts"]) < last_ns:
            continue
        stacks = [text_of(stack) for stack in of_thread["stack"] if text_of(stack)]
        if stacks and PROBE_FILE in stacks[-1]:
            continue
        found.append(thread_of(last, int(str(tid)), stacks, main_tid))
    return tuple(sorted(found, key=lambda thread: (not thread.is_main, thread.tid)))


def thread_of(row: "pd.Series[int]", tid: int, stacks: list[str], main_tid: int) -> QuietThread:
    """Return one thread from its last row and all its stacks."""
    return QuietThread(
        process=int(row["process"]),
        tid=tid,
        is_main=tid == main_tid,
        name=text_of(row["thread"]),
        call=text_of(row["call"]),
        kind=text_of(row["kind"]),
        target=text_of(row["target"]),
        peer_pid=int(row["peer_pid"]),
        peer=text_of(row["peer"]),
        limit_ns=int(row["limit_ns"]),
        runs=int(row["runs"]),
        cpu_ns=int(row["cpu_ns"]),
        stack=stacks[-1] if stacks else NOTHING,
        stack_changed=len({program_line(stack) for stack in stacks}) > 1,
    )


def program_line(stack: str) -> str:
    """Return the label of the program's own innermost line of a stack, else of its last frame."""
    labels = own_labels(stack)
    for label in reversed(labels):
        if parse_frame(label).is_of_program:
            return label
    return labels[-1] if labels else NOTHING


def text_of(value: object) -> str:
    """Return a cell as text, "" where it is missing."""
    return value if isinstance(value, str) else NOTHING
