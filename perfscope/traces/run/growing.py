"""A run folder that is still being written, read as it grows: no byte twice, and only the last
seconds are kept.

It has the face of StoredRun, so that the tables are made by the same code.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perfscope.errors import UnreadableRun
from perfscope.traces.regular_file import open_regular
from perfscope.traces.run.arrow_messages import (
    CONTINUATION,
    LARGEST_BODY,
    LONGEST_HEADER,
    ArrowReader,
)
from perfscope.traces.run.cells import LARGEST_NS, is_time
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.run.stored import (
    LONGEST_LINE,
    MOST_SEGMENTS,
    NOT_JSON,
    SEGMENT,
    decoded_row,
    read_manifest,
    stream_folders,
)

MOST_ROWS: Final = 200_000
READ_AT_ONCE: Final = LARGEST_BODY + LONGEST_HEADER + 8
"""Of an Arrow segment: a whole message."""
LINES_AT_ONCE: Final = 4 << 20
MOST_HELD_BYTES: Final = 256 << 20
"""Of rows of all streams, as they are in the file; of the largest stream the oldest are dropped
first.
"""
TEXT_WEIGHT: Final = 8
"""A row of JSON takes about so many times its text."""
MOST_STREAMS: Final = 4096


@dataclass
class Tail:
    """What was read of one stream: how far, and the rows (JSON) or record batches (Arrow) that are
    kept.
    """

    folder: Path
    segment: int = -1
    offset: int = 0
    grew_s: float = 0.0
    newest_ns: int = 0
    reader: ArrowReader = field(default_factory=ArrowReader)
    torn: int = 0
    rows: deque[dict[str, Any]] = field(default_factory=deque)
    sizes: deque[int] = field(default_factory=deque)
    held_bytes: int = 0
    batches: deque[pa.RecordBatch] = field(default_factory=deque)

    def update(self) -> None:
        """Take in what was added, segment after segment."""
        try:
            named = [SEGMENT.fullmatch(name) for name in os.listdir(self.folder)]
        except OSError:
            return
        numbers = sorted(
            (int(one[1]), one[0]) for one in named if one and int(one[1]) >= self.segment
        )
        for number, name in numbers[:MOST_SEGMENTS]:
            if number > self.segment:
                self.segment, self.offset, self.reader = number, 0, ArrowReader()
            self.read_segment(self.folder / name)

    def read_segment(self, segment: Path) -> None:
        """Read on in a segment."""
        is_arrow = (
            segment.suffix == ".arrow"
            or self.reader.names is not None
            or self.begins_arrow(segment)
        )
        used = 1
        while used and not self.reader.refused:
            data = read_from(segment, self.offset, READ_AT_ONCE if is_arrow else LINES_AT_ONCE)
            used = self.take_messages(data) if is_arrow else self.take_lines(data)
            self.offset += used
            if used:
                self.grew_s = time.monotonic()

    def begins_arrow(self, segment: Path) -> bool:
        """Return whether a segment that is still open is an Arrow stream."""
        return self.offset == 0 and read_from(segment, 0, len(CONTINUATION)) == CONTINUATION

    def take_lines(self, data: bytes) -> int:
        """Take whole lines; returns how many bytes they were."""
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) > LONGEST_LINE:
            self.torn += 1
            return len(data)
        for line in data[:whole].split(b"\n"):
            if not line:
                continue
            try:
                row = None if len(line) > LONGEST_LINE else decoded_row(line)
            except NOT_JSON:
                row = None
            if row is None:
                self.torn += 1
                continue
            self.keep_row(row, TEXT_WEIGHT * len(line))
            if is_time(ts := row.get("ts")):
                self.newest_ns = max(self.newest_ns, ts)
        return whole

    def keep_row(self, row: dict[str, Any], size: int) -> None:
        """Keep a row; the oldest goes where there are too many."""
        self.rows.append(row)
        self.sizes.append(size)
        self.held_bytes += size
        while len(self.rows) > MOST_ROWS or self.held_bytes > MOST_HELD_BYTES:
            self.drop_row()

    def drop_row(self) -> None:
        """Drop the oldest row."""
        self.rows.popleft()
        self.held_bytes -= self.sizes.popleft()

    def drop_batch(self) -> None:
        """Drop the oldest batch."""
        self.held_bytes -= self.batches.popleft().nbytes

    def take_messages(self, data: bytes) -> int:
        """Take whole messages; a message that is not all there is left for the next time."""
        self.reader.read(data)
        if self.reader.refused:
            self.torn += 1
        batch = self.reader.taken()
        if batch is not None:
            self.batches.append(batch)
            self.held_bytes += batch.nbytes
            while self.held_bytes > MOST_HELD_BYTES:
                self.drop_batch()
            if "ts" in batch.schema.names:
                self.newest_ns = max(self.newest_ns, int(newest_time(batch)))
        return self.reader.used

    def drop_older(self, window_ns: int) -> None:
        """Drop what is older than the window, counted from now: a stream that ended grows old
        too.
        """
        oldest = self.newest_ns - window_ns + int((time.monotonic() - self.grew_s) * 1e9)
        while self.rows and is_time(ts := self.rows[0].get("ts")) and ts < oldest:
            self.drop_row()
        while (
            self.batches
            and "ts" in self.batches[0].schema.names
            and newest_time(self.batches[0]) < oldest
        ):
            self.drop_batch()
        if self.batches and "ts" in self.batches[0].schema.names:
            first = self.batches[0]
            self.batches[0] = first.filter(pc.greater_equal(first.column("ts"), oldest))
            self.held_bytes += self.batches[0].nbytes - first.nbytes

    def drop_oldest(self) -> None:
        """Drop half of what is held, the oldest."""
        for _ in range(len(self.rows) - len(self.rows) // 2):
            self.drop_row()
        for _ in range(len(self.batches) - len(self.batches) // 2):
            self.drop_batch()
        self.torn += 1


def newest_time(batch: pa.RecordBatch) -> np.int64:
    """Return the newest time of a batch, without damaged ones."""
    ts = batch.column("ts").to_numpy()
    return np.int64(ts[np.abs(ts) < LARGEST_NS].max(initial=0))


def read_from(segment: Path, offset: int, most: int) -> bytes:
    """Return what a segment holds beyond `offset`, at most so much; nothing of what is not a
    regular file.
    """
    try:
        with open_regular(segment) as file:
            file.seek(offset)
            return file.read(most)
    except OSError:  # sealed (renamed) or dropped between the two calls: the next update finds it
        return b""


class GrowingRun:
    """The last `window_ns` of a run. `update` reads on."""

    def __init__(self, path: Path, window_ns: int) -> None:
        self.path, self.window_ns = path, window_ns
        self.manifest: Manifest = read_manifest(path)
        self.tails: dict[str, dict[int, Tail]] = {}
        self.impossible = 0

    @property
    def torn(self) -> int:
        return self.impossible + sum(tail.torn for tail in self.all_tails())

    def all_tails(self) -> list[Tail]:
        """All streams."""
        return [tail for tails in self.tails.values() for tail in tails.values()]

    def update(self) -> None:
        """Read what was written since. Raises UnreadableRun when the folder is gone."""
        self.manifest = read_manifest(self.path)
        try:
            streams = stream_folders(self.path)
        except OSError as error:
            raise UnreadableRun(f"cannot read {self.path}: {error.strerror}") from None
        held_bytes = sum(tail.held_bytes for tail in self.all_tails())
        for source, process, folder in streams[:MOST_STREAMS]:
            tail = self.tails.setdefault(source, {}).setdefault(process, Tail(folder))
            held_bytes -= tail.held_bytes
            tail.update()
            held_bytes += tail.held_bytes
            while held_bytes > MOST_HELD_BYTES:
                held_bytes -= self.drop_of_largest()
        for tail in self.all_tails():
            tail.drop_older(self.window_ns)

    def drop_of_largest(self) -> int:
        """Drop the oldest rows of the stream that holds most; returns how many bytes they were."""
        largest = max(self.all_tails(), key=lambda tail: tail.held_bytes)
        before = largest.held_bytes
        largest.drop_oldest()
        return before - largest.held_bytes

    def torn_rows(self, count: int) -> None:
        """Count rows that hold what no recording can hold."""
        self.impossible = max(self.impossible, count)

    def rows(self, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(process code, row) of a JSON-lines stream, over all processes."""
        for process, tail in self.tails.get(source, {}).items():
            for row in tail.rows:
                yield process, row

    def columns(self, source: str, names: tuple[str, ...]) -> Iterator[tuple[int, pa.Table]]:
        """(process code, int64 table with the columns `names`) of an Arrow stream, one a
        process.
        """
        for process, tail in self.tails.get(source, {}).items():
            fitting = [
                batch
                for batch in tail.batches
                if tuple(batch.schema.names) == names and batch.num_rows
            ]
            if fitting:
                yield process, pa.Table.from_batches(fitting)
