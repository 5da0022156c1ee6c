"""The traces of windows in the run folder: compressed on threads of their own, listed in a stream.

When they get too large, the oldest traces are removed.
"""

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from perfscope.agent.collector import TargetProcess
from perfscope.agent.collector_guard import GuardedThread
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.open_folder import HeldFolder

CHUNK_BYTES = 1 << 20
LARGEST_TRACE_BYTES = 1 << 30
# Of all traces together, compressed: one window per minute of a busy program, for about an hour.
MOST_STORED_BYTES = 256 << 20
GZIP = 31
FASTEST = 1
FOLDER = "kineto"
# Kineto's mark of an operator or range that was open at the end of the session.
UNFINISHED = b'"finished": false'
KERNEL = b'"cat": "kernel"'
OPERATOR = b'"cat": "cpu_op"'


@dataclass(frozen=True)
class TraceContents:
    """What a trace contains; if it is not whole, what its stored beginning contains.

    `has_unfinished`: an operator or range was open at the end of the session.
    """

    is_whole: bool
    has_unfinished: bool
    has_kernels: bool
    has_operators: bool


@dataclass(frozen=True)
class StoredTrace:
    """A trace in the run folder; `row` is its row in the stream, `size` its compressed bytes."""

    process: int
    row: dict[str, Any]
    name: str
    size: int
    contents: TraceContents


class TraceStore:
    """The folder `kineto` of one run folder.

    Only the recorder's thread may call `list_stored`, because it writes the streams.
    """

    def __init__(self, run: RunWriter) -> None:
        self.run = run
        self.names: set[str] = set()
        self.kept: list[StoredTrace] = []
        self.finished: list[StoredTrace] = []
        self.threads: list[GuardedThread] = []
        self.closed: dict[int, bool] = {}
        self.without_kernels = self.without_operators = False
        self.trouble: list[str] = []
        self.held: HeldFolder | None = None
        self.stored = self.dropped = self.cut = 0

    def keep(self, file: int, row: dict[str, Any], target: TargetProcess) -> None:
        """Store an open trace, and list it under a new name with `row`; `file` is closed here."""
        row["name"] = self.new_name(max(target.rank, 0))
        self.closed[target.process] = False  # until the trace shows it
        thread = GuardedThread(target=self.store, args=(file, row, target.process))
        try:
            if self.held is None:
                self.held = self.run.held.folder(FOLDER)
            thread.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            os.close(file)
            reason = getattr(error, "strerror", None) or str(error)
            self.trouble.append(not_stored(reason))
            return
        self.threads.append(thread)

    def new_name(self, rank: int) -> str:
        """Return an unused file name: `rank0.json.gz`, then `rank0-2.json.gz`, ..."""
        name, number = f"rank{rank}.json.gz", 1
        while name in self.names:
            number += 1
            name = f"rank{rank}-{number}.json.gz"
        self.names.add(name)
        return name

    def store(self, file: int, row: dict[str, Any], process: int) -> None:
        """Compress a trace into the run folder; runs on a thread of its own."""
        assert self.held is not None
        name = row["name"]
        new_name = f"{name}.new"
        try:
            with (
                os.fdopen(file, "rb", buffering=0),
                os.fdopen(self.held.create(new_name), "wb") as out,
            ):
                contents = compress_trace(file, out)
                size = out.tell()
            self.held.rename(new_name, name)
            self.finished.append(StoredTrace(process, row, name, size, contents))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.held.remove(new_name)
            self.trouble.append(not_stored(error.strerror or str(error)))

    def list_stored(self) -> None:
        """Write the rows of the traces that are stored by now, and remove the oldest traces."""
        self.take_failures()
        while self.finished:
            trace = self.finished.pop(0)
            self.run.jsonl("kernels", trace.process).append(trace.row)
            self.kept.append(trace)
            self.stored += 1
            self.take_contents(trace)
            self.remove_oldest()
            if not trace.row.get("on_demand") and trace.contents.has_operators:
                self.run.manifest.depth = "kernels"
            self.run.write_manifest()

    def take_failures(self) -> None:
        """Forget the threads that have ended, and keep the reasons of those that failed."""
        for thread in [thread for thread in self.threads if not thread.is_alive()]:
            self.threads.remove(thread)
            if thread.failure is not None:
                self.trouble.append(not_stored(thread.failure.reason))

    def take_contents(self, trace: StoredTrace) -> None:
        """Note whether everything was closed at the end of a trace, and what is missing from it."""
        contents = trace.contents
        self.closed[trace.process] = contents.is_whole and not contents.has_unfinished
        if trace.row.get("device") and contents.is_whole and not contents.has_kernels:
            self.without_kernels = True
        if not contents.is_whole:
            self.report_cut()
        if contents.is_whole and not contents.has_operators:
            self.without_operators = True

    def all_closed(self, process: int) -> bool | None:
        """Return whether nothing was open at the end of a process's last trace.

        Returns None while a trace is being stored.
        """
        return None if self.threads else self.closed.get(process, False)

    def report_cut(self) -> None:
        """Report that the end of a trace was too large to be stored."""
        self.cut += 1
        limit = f"{LARGEST_TRACE_BYTES >> 20} MB"
        self.trouble.append(f"the trace of a window was cut off after {limit}")
        line = f"the end of {self.cut} traces of windows, larger than {limit}"
        self.run.note_dropped("the end of", line)

    def remove_oldest(self) -> None:
        """Remove the oldest traces beyond the limit.

        Their rows stay, because the times of the windows show which steps they distorted.
        """
        while len(self.kept) > 1 and sum(trace.size for trace in self.kept) > MOST_STORED_BYTES:
            trace = self.kept.pop(0)
            if self.held is not None:
                with contextlib.suppress(OSError):
                    self.held.remove(trace.name)
            self.run.jsonl("kernels", trace.process).append({"gone": trace.name})
            self.dropped += 1
            line = f"{self.dropped} oldest traces of windows over {MOST_STORED_BYTES >> 20} MB"
            self.run.note_dropped("oldest traces", line)

    def finish(self) -> None:
        """Wait for the traces that are being stored, and list them."""
        for thread in self.threads:
            thread.join()
        self.list_stored()


def not_stored(reason: str) -> str:
    """Return the line for a trace that could not be stored."""
    return f"the trace of a window could not be stored: {reason}"


def compress_trace(file: int, out: Any) -> TraceContents:
    """Compress a memory file into the binary file `out`, without the end of one that is too large.

    Raises OSError.
    """
    compressor = isal_zlib.compressobj(FASTEST, isal_zlib.DEFLATED, GZIP)
    offset, before = 0, b""
    has_unfinished = has_kernels = has_operators = False
    while piece := os.pread(file, CHUNK_BYTES, offset):
        if offset >= LARGEST_TRACE_BYTES:
            break
        offset += len(piece)
        text = piece.replace(b"\0", b"")  # the trace contains its own file name, with a zero byte
        out.write(compressor.compress(text))
        seen = before + text
        has_unfinished = has_unfinished or UNFINISHED in seen
        has_kernels = has_kernels or KERNEL in seen
        has_operators = has_operators or OPERATOR in seen
        before = text[-len(UNFINISHED) :]
    out.write(compressor.flush())
    return TraceContents(not piece, has_unfinished, has_kernels, has_operators)
