"""Reads a run folder while it is written. No byte is read twice, and only the last seconds are
kept.

`GrowingRun` has the same methods as `StoredRun`, so that the same code builds the tables.
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
from perfscope.traces.run_folder.arrow_messages import (
    CONTINUATION,
    LARGEST_BODY,
    LONGEST_HEADER,
    ArrowReader,
)
from perfscope.traces.run_folder.cell_types import LARGEST_NS, is_time
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.stored import (
    LONGEST_LINE,
    MOST_SEGMENTS,
    NOT_JSON,
    SEGMENT,
    decoded_row,
    read_manifest,
    stream_folders,
)

MOST_ROWS: Final = 200_000
MESSAGE_BYTES: Final = LARGEST_BODY + LONGEST_HEADER + 8
"""Bytes of an Arrow segment that are read at once: at least one whole message."""
LINES_AT_ONCE: Final = 4 << 20
MOST_HELD_BYTES: Final = 256 << 20
"""Rows of all streams together, in bytes of the file. Above this, the oldest rows of the largest
stream are dropped.
"""
TEXT_WEIGHT: Final = 8
"""A decoded row of JSON takes about so many times the memory of its text."""
MOST_STREAMS: Final = 4096


@dataclass
class Tail:
    """The end of one stream: how far it was read, and the rows (JSON) or record batches (Arrow)
    that are kept.
    """

    folder: Path
    segment: int = -1
    offset: int = 0
    grew_s: float = 0.0
    newest_ns: int = 0
    reader: ArrowReader = field(default_factory=ArrowReader)
    damaged_records: int = 0
    rows: deque[dict[str, Any]] = field(default_factory=deque)
    sizes: deque[int] = field(default_factory=deque)
    held_bytes: int = 0
    batches: deque[pa.RecordBatch] = field(default_factory=deque)

    def update(self) -> None:
        """Read what was added, segment by segment."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return
        segments = []
        for name in names:
            match = SEGMENT.fullmatch(name)
            if match and int(match[1]) >= self.segment:
                segments.append((int(match[1]), name))
        for number, name in sorted(segments)[:MOST_SEGMENTS]:
            if number > self.segment:
                self.segment, self.offset, self.reader = number, 0, ArrowReader()
            self.read_segment(self.folder / name)

    def read_segment(self, segment: Path) -> None:
        """Read the rest of a segment."""
        is_arrow = (
            segment.suffix == ".arrow"
            or self.reader.names is not None
            or self.begins_with_arrow(segment)
        )
        most_bytes = MESSAGE_BYTES if is_arrow else LINES_AT_ONCE
        used_bytes = 1
        while used_bytes and not self.reader.refused:
            data = read_from(segment, self.offset, most_bytes)
            used_bytes = self.take_messages(data) if is_arrow else self.take_lines(data)
            self.offset += used_bytes
            if used_bytes:
                self.grew_s = time.monotonic()

    def begins_with_arrow(self, segment: Path) -> bool:
        """Return whether a segment that is still written begins as an Arrow stream does."""
        return self.offset == 0 and read_from(segment, 0, len(CONTINUATION)) == CONTINUATION

    def take_lines(self, data: bytes) -> int:
        """Add the rows of whole lines. Return how many bytes were used."""
        used_bytes = data.rfind(b"\n") + 1
        if not used_bytes and len(data) > LONGEST_LINE:
            self.damaged_records += 1
            return len(data)
        for line in data[:used_bytes].split(b"\n"):
            if not line:
                continue
            try:
                row = None if len(line) > LONGEST_LINE else decoded_row(line)
            except NOT_JSON:
                row = None
            if row is None:
                self.damaged_records += 1
                continue
            self.keep_row(row, TEXT_WEIGHT * len(line))
            if is_time(ts := row.get("ts")):
                self.newest_ns = max(self.newest_ns, ts)
        return used_bytes

    def keep_row(self, row: dict[str, Any], size: int) -> None:
        """Keep a row, and drop the oldest rows when there are too many."""
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
        """Add the rows of whole messages. Return how many bytes were used. An incomplete message is
        read again with the next update.
        """
        self.reader.read(data)
        if self.reader.refused:
            self.damaged_records += 1
        batch = self.reader.take_rows()
        if batch is not None:
            self.batches.append(batch)
            self.held_bytes += batch.nbytes
            while self.held_bytes > MOST_HELD_BYTES:
                self.drop_batch()
            if "ts" in batch.schema.names:
                self.newest_ns = max(self.newest_ns, int(newest_time(batch)))
        return self.reader.used

    def drop_older(self, window_ns: int) -> None:
        """Drop rows older than the window. It ends now, so that also a stream that ended loses its
        rows.
        """
        oldest = self.newest_ns - window_ns + int((time.monotonic() - self.grew_s) * 1e9)
        while self.rows and is_time(ts := self.rows[0].get("ts")) and ts < oldest:
            self.drop_row()
        while self.first_batch_has_times() and newest_time(self.batches[0]) < oldest:
            self.drop_batch()
        if self.first_batch_has_times():
            first = self.batches[0]
            self.batches[0] = first.filter(pc.greater_equal(first.column("ts"), oldest))
            self.held_bytes += self.batches[0].nbytes - first.nbytes

    def first_batch_has_times(self) -> bool:
        """Return whether there is a batch, with a column `ts`."""
        return bool(self.batches) and "ts" in self.batches[0].schema.names

    def drop_oldest(self) -> None:
        """Drop the older half of the rows and batches."""
        for _ in range(len(self.rows) - len(self.rows) // 2):
            self.drop_row()
        for _ in range(len(self.batches) - len(self.batches) // 2):
            self.drop_batch()
        self.damaged_records += 1


def newest_time(batch: pa.RecordBatch) -> np.int64:
    """Return the newest time of a batch; damaged times do not count."""
    ts = batch.column("ts").to_numpy()
    return np.int64(ts[np.abs(ts) < LARGEST_NS].max(initial=0))


def read_from(segment: Path, offset: int, most: int) -> bytes:
    """Return at most `most` bytes of a segment from `offset` on; none where it is not a regular
    file.
    """
    try:
        with open_regular(segment) as file:
            file.seek(offset)
            return file.read(most)
    except OSError:  # sealed (renamed) or dropped just now; the next update reads on
        return b""


class GrowingRun:
    """The last `window_ns` of a run. `update` reads what was added."""

    def __init__(self, path: Path, window_ns: int) -> None:
        self.path, self.window_ns = path, window_ns
        self.manifest: Manifest = read_manifest(path)
        self.tails: dict[str, dict[int, Tail]] = {}
        self.impossible = 0

    @property
    def damaged_records(self) -> int:
        """How many records and segments could not be read."""
        return self.impossible + sum(tail.damaged_records for tail in self.all_tails())

    def all_tails(self) -> list[Tail]:
        """Return the tails of all streams."""
        return [tail for tails in self.tails.values() for tail in tails.values()]

    def update(self) -> None:
        """Read what was added since the last update. Raises UnreadableRun for a missing folder."""
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
                held_bytes -= self.drop_from_largest()
        for tail in self.all_tails():
            tail.drop_older(self.window_ns)

    def drop_from_largest(self) -> int:
        """Drop the oldest rows of the largest stream. Return how many bytes they had."""
        largest = max(self.all_tails(), key=lambda tail: tail.held_bytes)
        before = largest.held_bytes
        largest.drop_oldest()
        return before - largest.held_bytes

    def count_damaged_rows(self, count: int) -> None:
        """Count rows with impossible values. Called again with all rows that are kept."""
        self.impossible = max(self.impossible, count)

    def rows(self, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (process code, row) of the JSON-lines streams of a source."""
        for process, tail in self.tails.get(source, {}).items():
            for row in tail.rows:
                yield process, row

    def columns(self, source: str, names: tuple[str, ...]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (process code, table of int64 with the columns `names`) of the Arrow streams of a
        source.
        """
        for process, tail in self.tails.get(source, {}).items():
            batches = [
                batch
                for batch in tail.batches
                if tuple(batch.schema.names) == names and batch.num_rows
            ]
            if batches:
                yield process, pa.Table.from_batches(batches)
