"""Reads one trace file into columns: parses its pieces in parallel, joins pieces that were cut
inside an event, and reports where the file is incomplete.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Final

import msgspec

from perfscope.errors import UnreadableRun
from perfscope.traces.kineto import compiled_parser
from perfscope.traces.kineto.assemble import summed_counts
from perfscope.traces.kineto.layout import MOST_METADATA, MOST_METADATA_TEXT, ParsedPiece
from perfscope.traces.kineto.piece_parser import parse_piece
from perfscope.traces.kineto.pieces import NoEvents, Pieces, last_boundary
from perfscope.traces.kineto.repaired_text import INVALID_TEXT
from perfscope.traces.kineto.text import TraceText
from perfscope.traces.pool_process import end_with_parent
from perfscope.traces.reader import WrongFormat
from perfscope.traces.reading_options import ProgressCallback

WORTH_PROCESSES: Final = 24 << 20
"""Bytes of text. Above this, parsing in several processes is faster than in one."""
COMPRESSION: Final = 12
"""A typical ratio of text to file size of a compressed file."""
COMPRESSED: Final = (".gz", ".zst")
LONGEST_TAIL: Final = 16 << 20
MOST_JOINED: Final = 8
TRUNCATED: Final = "truncated-file"


@dataclass
class FileColumns:
    """The contents of a file."""

    pieces: list[ParsedPiece] = field(default_factory=list)
    around: dict[str, Any] = field(default_factory=dict)
    """The members of the outermost JSON object other than the events."""
    cut_off_reason: str | None = None
    """Why the file is incomplete, None when it is complete."""
    unread_members: int = 0
    """1 where the text after the events is not valid JSON."""

    def violations(self) -> dict[str, int]:
        """Return how many events violate an invariant of the text, by invariant."""
        counts = summed_counts(piece.violations for piece in self.pieces)
        if self.unread_members:
            counts[INVALID_TEXT] = counts.get(INVALID_TEXT, 0) + self.unread_members
        if self.cut_off_reason is not None:
            counts[TRUNCATED] = 1
        return counts


def read_columns(path: Path, workers: int, progress: ProgressCallback | None = None) -> FileColumns:
    """Return the contents of one file. Raises UnreadableRun."""
    text = TraceText(path)
    pieces = Pieces(text)
    with pool_for(path, workers) as pool:
        window = 1 if isinstance(pool, SameThread) else 2 * workers
        parser = FileParser(path, iter(pieces), pool, window)
        columns = FileColumns()
        metadata = MOST_METADATA, MOST_METADATA_TEXT
        try:
            for parsed in parser.parsed_pieces():
                metadata = parsed.keep_metadata(*metadata)
                columns.pieces.append(parsed)
                if progress is not None:
                    progress(text.read_bytes, path.stat().st_size, parser.done_bytes)
        except NoEvents as error:
            raise WrongFormat(f"{path} is not a trace of the PyTorch profiler: {error}") from error
    columns.cut_off_reason = text.cut_off_reason or parser.cut_off_reason
    columns.around, columns.unread_members = members_around_events(
        path, pieces.head, parser.tail, is_complete=columns.cut_off_reason is None
    )
    return columns


def pool_for(path: Path, workers: int) -> Executor:
    """Return what parses the pieces of a file."""
    if workers > 1 and compiled_parser.is_available():
        return ThreadPoolExecutor(
            workers, "perfscope-parse"
        )  # the compiled reader releases the GIL
    if parses_in_processes(path, workers):
        return ProcessPoolExecutor(workers, get_context("fork"), end_with_parent)
    return SameThread()


def parses_in_processes(path: Path, workers: int) -> bool:
    """Return whether a file is parsed in forked processes."""
    is_large = estimated_bytes(path) > WORTH_PROCESSES
    return workers > 1 and is_large and not compiled_parser.is_available()


def estimated_bytes(path: Path) -> int:
    """Return about how many bytes of text a file holds."""
    return path.stat().st_size * (COMPRESSION if path.suffix in COMPRESSED else 1)


class SameThread(Executor):
    """An Executor that runs every task immediately, in the calling thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run `fn` and return its result."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except msgspec.DecodeError as error:
            future.set_exception(error)
        return future


class FileParser:
    """Parses the pieces of one file, up to `window` of them ahead of the caller.

    After the last piece, `tail` is the text after the event array, and `cut_off_reason` says why
    there is none.
    """

    def __init__(
        self, path: Path, pieces: Iterator[memoryview], pool: Executor, window: int
    ) -> None:
        self.path, self.pieces, self.pool, self.window = path, pieces, pool, window
        self.ahead: deque[tuple[memoryview, Future[ParsedPiece]]] = deque()
        self.done_bytes = 0
        self.tail = b""
        self.cut_off_reason: str | None = None

    def parsed_pieces(self) -> Iterator[ParsedPiece]:
        """Yield the columns of each piece. Raises UnreadableRun, NoEvents."""
        self.submit_ahead()
        while self.ahead:
            piece, future = self.ahead.popleft()
            piece, parsed = self.join_until_valid(piece, future)
            self.done_bytes += len(piece)
            yield parsed
            if parsed.ended_at is not None:
                self.tail = self.text_after(piece[parsed.ended_at :])
                return
            self.submit_ahead()
        self.cut_off_reason = self.cut_off_reason or "it ends in the middle"

    def submit_ahead(self) -> None:
        """Submit pieces until `window` of them are being parsed."""
        needs_copy = isinstance(self.pool, ProcessPoolExecutor)  # a memoryview cannot be pickled
        while len(self.ahead) < self.window:
            piece = next(self.pieces, None)
            if piece is None:
                return
            future = self.pool.submit(parse_piece, bytes(piece) if needs_copy else piece)
            self.ahead.append((piece, future))

    def join_until_valid(
        self, piece: memoryview, future: "Future[ParsedPiece]"
    ) -> tuple[memoryview, ParsedPiece]:
        """Return a piece and its columns. A piece that was cut inside an event is not valid JSON,
        and is joined with the pieces that follow.
        """
        for _ in range(MOST_JOINED):
            try:
                return piece, future.result()
            except msgspec.DecodeError as error:
                self.submit_ahead()
                if not self.ahead:
                    return piece, self.parse_cut_off(piece, error)
                next_piece, _ = self.ahead.popleft()
                piece = memoryview(b",".join((piece, next_piece)))
                future = SameThread().submit(parse_piece, piece)
        raise self.invalid_json(future.exception())

    def parse_cut_off(self, piece: memoryview, error: msgspec.DecodeError) -> ParsedPiece:
        """Return the whole events of the last piece of a file that ends inside an event."""
        at = last_boundary(bytes(piece))
        if at is None:
            raise self.invalid_json(error)
        self.cut_off_reason = "it ends in the middle of an event"
        try:
            return parse_piece(piece[: at + 1])
        except msgspec.DecodeError as second_error:
            raise self.invalid_json(second_error) from second_error

    def invalid_json(self, error: BaseException | None) -> UnreadableRun:
        """Return the error for text that is not JSON."""
        return UnreadableRun(
            f"{self.path} is not valid JSON after {self.done_bytes / 1e6:.1f} MB of events"
            f" ({error}). Record the trace again."
        )

    def text_after(self, tail: memoryview) -> bytes:
        """Return all text from `tail` to the end of the file. Raises UnreadableRun when it is
        longer than a trace can have after its events.
        """
        parts = [tail, *(piece for piece, _ in self.ahead)]
        size = sum(map(len, parts))
        for piece in self.pieces:
            parts.append(piece)
            size += len(piece)
            if size > LONGEST_TAIL:
                raise UnreadableRun(
                    f"{self.path} has more text after its events. If it is several traces in one"
                    " file, split it."
                )
        return b",".join(parts)


def members_around_events(
    path: Path, head: bytes, tail: bytes, *, is_complete: bool
) -> tuple[dict[str, Any], int]:
    """Return the members of the outermost object from the text before and after the events, and how
    many of the two texts are not JSON.

    Raises UnreadableRun when there is text after the end of the object.
    """
    before = head.strip().rstrip(b",")
    after = tail.strip().lstrip(b",")
    halves = [before + b"}" if before else b"{}"]
    if before and is_complete:
        halves.append(b"{" + after)
    members: dict[str, Any] = {}
    unread = 0
    for half in halves:
        try:
            decoded = msgspec.json.decode(half.replace(b"\x00", b""))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if "trailing" in str(error):
                raise UnreadableRun(
                    f"{path} has more text after the end of its JSON. If it is several traces in"
                    " one file, split it."
                ) from error
            unread += 1
            continue
        members |= decoded if isinstance(decoded, dict) else {}
    return members, unread


def available_cores() -> int:
    """Return the cores that this process may use, and 1 in a process that reads one of several
    files.
    """
    if parent_process() is not None:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
