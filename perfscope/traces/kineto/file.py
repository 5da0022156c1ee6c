"""One trace file to its columns: pieces parsed side by side, wrong cuts mended, what is missing
said.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import msgspec

from perfscope.errors import UnreadableRun
from perfscope.traces.kineto import compiled_part
from perfscope.traces.kineto.layout import Part
from perfscope.traces.kineto.part import part_of
from perfscope.traces.kineto.pieces import NoEvents, Pieces, last_boundary
from perfscope.traces.kineto.text import Text
from perfscope.traces.reading_options import READABLE, Heard

WORTH_PROCESSES = 24 << 20
"""Bytes of text from which on starting processes pays."""
PACKED = 12
LONGEST_TAIL = 16 << 20
MOST_JOINED = 8


@dataclass
class Columns:
    """What a file holds: parts in order, the object around the events, and why it is not whole
    (None when it is).
    """

    parts: list[Part] = field(default_factory=list)
    around: dict[str, Any] = field(default_factory=dict)
    torn: str | None = None


def read_columns(path: Path, workers: int, progress: Heard | None = None) -> Columns:
    """All of one file. Raises UnreadableRun."""
    text = Text(path)
    pieces = Pieces(text)
    with pool_for(path, workers) as pool:
        parser = Parser(path, iter(pieces), pool, 1 if isinstance(pool, Here) else 2 * workers)
        columns = Columns()
        try:
            for part in parser.parts():
                columns.parts.append(part)
                if progress is not None:
                    progress(text.read_bytes, path.stat().st_size, parser.done_bytes)
        except NoEvents as error:
            raise UnreadableRun(f"{path}: has no trace events in it; {READABLE}") from error
    columns.torn = text.torn or parser.torn
    columns.around = around(path, pieces.head, parser.tail, whole=columns.torn is None)
    return columns


def pool_for(path: Path, workers: int) -> Executor:
    """Who parses: threads where the compiled reader lets go of the interpreter, else processes
    where they pay.
    """
    if workers > 1 and compiled_part.is_there():
        return ThreadPoolExecutor(workers, "perfscope-parse")
    if workers > 1 and estimated_bytes(path) > WORTH_PROCESSES:
        return ProcessPoolExecutor(workers, mp_context=get_context("fork"))
    return Here()


def estimated_bytes(path: Path) -> int:
    """About how much text the file holds."""
    return path.stat().st_size * (PACKED if path.suffix == ".gz" else 1)


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except msgspec.DecodeError as error:
            done.set_exception(error)
        return done


class Parser:
    """Parses pieces a window ahead; afterwards `tail` is the text behind the array and `torn` why
    there is none.
    """

    def __init__(
        self, path: Path, pieces: Iterator[memoryview], pool: Executor, window: int
    ) -> None:
        self.path, self.pieces, self.pool, self.window = path, pieces, pool, window
        self.ahead: deque[tuple[memoryview, Future[Part]]] = deque()
        self.done_bytes = 0
        self.tail = b""
        self.torn: str | None = None

    def parts(self) -> Iterator[Part]:
        self.fill()
        while self.ahead:
            piece, future = self.ahead.popleft()
            piece, part = self.parsed(piece, future)
            self.done_bytes += len(piece)
            yield part
            if part.ended_at is not None:
                self.tail = self.rest(piece[part.ended_at :])
                return
            self.fill()
        self.torn = self.torn or "it ends in the middle"

    def fill(self) -> None:
        while len(self.ahead) < self.window:
            piece = next(self.pieces, None)
            if piece is None:
                return
            processes = isinstance(self.pool, ProcessPoolExecutor)
            self.ahead.append(
                (piece, self.pool.submit(part_of, bytes(piece) if processes else piece))
            )

    def parsed(self, piece: memoryview, future: "Future[Part]") -> tuple[memoryview, Part]:
        """A piece and its part; where it was cut inside an event, of it and those that follow."""
        for _ in range(MOST_JOINED):
            try:
                return piece, future.result()
            except msgspec.DecodeError as error:
                self.fill()
                if not self.ahead:
                    return piece, self.last(piece, error)
                piece = memoryview(b",".join((piece, self.ahead.popleft()[0])))
                future = Here().submit(part_of, piece)
        raise self.malformed(future.exception())

    def last(self, piece: memoryview, error: msgspec.DecodeError) -> Part:
        """What is whole of the last piece when the file is cut off in it."""
        at = last_boundary(bytes(piece))
        if at is None:
            raise self.malformed(error)
        self.torn = "it ends in the middle of an event"
        try:
            return part_of(piece[: at + 1])
        except msgspec.DecodeError as again:
            raise self.malformed(again) from again

    def malformed(self, error: BaseException | None) -> UnreadableRun:
        return UnreadableRun(
            f"{self.path}: is not valid JSON after {self.done_bytes / 1e6:.1f} MB of events"
            f" ({error}); record it again"
        )

    def rest(self, tail: memoryview) -> bytes:
        """All that follows the array."""
        parts = [tail, *(piece for piece, _ in self.ahead)]
        size = sum(map(len, parts))
        for piece in self.pieces:
            parts.append(piece)
            size += len(piece)
            if size > LONGEST_TAIL:
                raise UnreadableRun(
                    f"{self.path}: goes on for long after its events; is it several files in one?"
                )
        return b",".join(parts)


def around(path: Path, head: bytes, tail: bytes, *, whole: bool) -> dict[str, Any]:
    """The object around the events, from its two halves. Raises UnreadableRun when it goes on after
    its end.
    """
    before = head.strip().rstrip(b",")
    found: dict[str, Any] = {}
    for text in (
        before + b"}" if before else b"{}",
        b"{" + tail.strip().lstrip(b",") if before and whole else b"{}",
    ):
        try:
            more = msgspec.json.decode(text.replace(b"\x00", b""))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if "trailing" in str(error):
                raise UnreadableRun(
                    f"{path}: goes on after the end of its JSON; is it several files in one?"
                ) from error
            continue
        found |= more if isinstance(more, dict) else {}
    return found


def usable_cores() -> int:
    """The cores that this process may use; one for a process that was itself started to read,
    beside others.
    """
    if parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
