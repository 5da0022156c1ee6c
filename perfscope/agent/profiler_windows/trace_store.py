"""The traces of windows in the run folder: packed on threads of their own, told of in a stream, the
oldest dropped at last.
"""

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from perfscope.agent.collector import TargetProcess
from perfscope.agent.collector_guard import GuardedThread
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.held_folder import HeldFolder

CHUNK_BYTES = 1 << 20
LARGEST_TRACE_BYTES = 1 << 30
MOST_STORED_BYTES = 256 << 20
"""Of all traces together, packed: about an hour of a window a minute of a busy program."""
GZIP = 31
FASTEST = 1
FOLDER = "kineto"
UNFINISHED = b'"finished": false'
"""How Kineto marks each operator or range that was open at the end of the session."""
KERNEL = b'"cat": "kernel"'
OPERATOR = b'"cat": "cpu_op"'


@dataclass(frozen=True)
class Contents:
    """What was seen in a trace while it was packed; of one that is not whole, in its beginning."""

    is_whole: bool
    has_open: bool
    has_kernels: bool
    has_operators: bool


@dataclass(frozen=True)
class Packed:
    """A trace that is in the run folder, not yet told of; `size` in bytes, packed."""

    process: int
    note: dict[str, Any]
    name: str
    size: int
    contents: Contents


class TraceStore:
    """`kineto/` of one run folder. `write_down` belongs to the recorder's thread, which writes the
    streams.
    """

    def __init__(self, run: RunWriter) -> None:
        self.run = run
        self.names: set[str] = set()
        self.kept: list[Packed] = []
        self.finished: list[Packed] = []
        self.threads: list[GuardedThread] = []
        self.closed: dict[int, bool] = {}
        self.without_kernels = self.without_operators = False
        self.trouble: list[str] = []
        self.held: HeldFolder | None = None
        self.stored = self.dropped = self.cut = 0

    def keep(self, file: int, note: dict[str, Any], target: TargetProcess) -> None:
        """Pack an open trace, and note it; `file` is closed here."""
        note["name"] = self.fresh(max(target.rank, 0))
        self.closed[target.process] = False  # until its trace has shown it
        thread = GuardedThread(target=self.packed, args=(file, note, target.process))
        try:
            if self.held is None:
                self.held = self.run.held.folder(FOLDER)
            thread.start()
        except (OSError, RuntimeError) as error:  # the latter: no thread can be started
            os.close(file)
            self.trouble.append(not_stored(getattr(error, "strerror", None) or str(error)))
            return
        self.threads.append(thread)

    def fresh(self, rank: int) -> str:
        """`rank0.json.gz`, then `rank0-2.json.gz` ..."""
        number = 1
        while (name := f"rank{rank}{'' if number == 1 else f'-{number}'}.json.gz") in self.names:
            number += 1
        self.names.add(name)
        return name

    def packed(self, file: int, note: dict[str, Any], process: int) -> None:
        assert self.held is not None
        name = note["name"]
        fresh = f"{name}.new"
        try:
            with (
                os.fdopen(file, "rb", buffering=0),
                os.fdopen(self.held.create(fresh), "wb") as out,
            ):
                contents = pack(file, out)
                size = out.tell()
            self.held.rename(fresh, name)
            self.finished.append(Packed(process, note, name, size, contents))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.held.remove(fresh)
            self.trouble.append(not_stored(error.strerror or str(error)))

    def write_down(self) -> None:
        """Tell of what the packing threads have finished, and make room."""
        self.take_failures()
        while self.finished:
            trace = self.finished.pop(0)
            self.run.jsonl("kernels", trace.process).append(trace.note)
            self.kept.append(trace)
            self.stored += 1
            self.look_into(trace)
            self.make_room()
            if not trace.note.get("on_demand") and trace.contents.has_operators:
                self.run.manifest.depth = "kernels"
            self.run.write_manifest()

    def take_failures(self) -> None:
        """Let go of the threads that have ended, and keep what ended them early."""
        for thread in [one for one in self.threads if not one.is_alive()]:
            self.threads.remove(thread)
            if thread.failure is not None:
                self.trouble.append(not_stored(thread.failure.reason))

    def look_into(self, trace: Packed) -> None:
        """Keep what the trace shows: whether all was closed at its end, whether the kernels are
        missing.
        """
        contents = trace.contents
        self.closed[trace.process] = contents.is_whole and not contents.has_open
        if trace.note.get("device") and contents.is_whole and not contents.has_kernels:
            self.without_kernels = True
        if not contents.is_whole:
            self.tell_cut()
        if contents.is_whole and not contents.has_operators:
            self.without_operators = True

    def all_closed(self, process: int) -> bool | None:
        """Return whether the last trace of a process shows that nothing was open at its end; None
        while it is packed.
        """
        return None if self.threads else self.closed.get(process, False)

    def tell_cut(self) -> None:
        """Say that a trace was larger than is kept."""
        self.cut += 1
        limit = f"{LARGEST_TRACE_BYTES >> 20} MB"
        self.trouble.append(
            f"the trace of a window is larger than {limit}: what follows was cut off"
        )
        self.run.tell_dropped(
            "the end of", f"the end of {self.cut} traces of windows, larger than {limit}"
        )

    def make_room(self) -> None:
        """Drop the oldest traces beyond the limit; when those windows were stays known, for the
        steps they distorted.
        """
        while len(self.kept) > 1 and sum(one.size for one in self.kept) > MOST_STORED_BYTES:
            trace = self.kept.pop(0)
            if self.held is not None:
                with contextlib.suppress(OSError):
                    self.held.remove(trace.name)
            self.run.jsonl("kernels", trace.process).append({"gone": trace.name})
            self.dropped += 1
            line = f"{self.dropped} oldest traces of windows over {MOST_STORED_BYTES >> 20} MB"
            self.run.tell_dropped("oldest traces", line)

    def finish(self) -> None:
        """Wait for what is being packed."""
        for thread in self.threads:
            thread.join()
        self.write_down()


def not_stored(reason: str) -> str:
    return f"the trace of a window could not be stored: {reason}"


def pack(file: int, out: Any) -> Contents:
    """Compress a memory file into the binary file `out`; of one that is too large the end is left
    out. Raises OSError.
    """
    packer = isal_zlib.compressobj(FASTEST, isal_zlib.DEFLATED, GZIP)
    offset, before = 0, b""
    has_open = has_kernels = has_operators = False
    while piece := os.pread(file, CHUNK_BYTES, offset):
        if offset >= LARGEST_TRACE_BYTES:
            break
        offset += len(piece)
        text = piece.replace(b"\0", b"")  # behind the name of the file, which it holds
        out.write(packer.compress(text))
        seen = before + text
        has_open, has_kernels = has_open or UNFINISHED in seen, has_kernels or KERNEL in seen
        has_operators = has_operators or OPERATOR in seen
        before = text[-len(UNFINISHED) :]
    out.write(packer.flush())
    return Contents(not piece, has_open, has_kernels, has_operators)
