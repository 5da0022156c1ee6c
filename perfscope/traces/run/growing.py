"""A run folder that is still being written, read as it grows: no byte twice, and only the last seconds are kept.

It has the face of StoredRun, so that the tables are made by the same code.
"""

import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from perfscope.traces.run.manifest import Manifest
from perfscope.traces.run.stored import LARGEST_SEGMENT_BYTES, read_manifest

MOST_ROWS = 200_000
DECODE = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass
class Tail:
    """What was read of one stream: how far, and the rows (JSON) or record batches (Arrow) that are kept."""

    folder: Path
    number: int = -1
    offset: int = 0
    grew_s: float = 0.0
    newest_ns: int = 0
    schema: pa.Schema | None = None
    torn: int = 0
    rows: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_ROWS))
    batches: deque[pa.RecordBatch] = field(default_factory=lambda: deque(maxlen=MOST_ROWS))

    def update(self) -> None:
        """Take in what was added, segment after segment."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder))
        except OSError:
            return
        for name in names:
            number, _, kind = name.partition(".")
            if not number.isdecimal() or kind not in ("open", "jsonl", "arrow") or int(number) < self.number:
                continue
            if int(number) > self.number:
                self.number, self.offset, self.schema = int(number), 0, None
            self.take(self.folder / name)

    def take(self, segment: Path) -> None:
        data = added(segment, self.offset)
        if not data:
            return
        used = self.arrow(data) if data.startswith(b"\xff\xff\xff\xff") else self.lines(data)
        self.offset += used
        if used:
            self.grew_s = time.monotonic()

    def lines(self, data: bytes) -> int:
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            try:
                row = DECODE(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self.torn += 1
                continue
            self.rows.append(row)
            if isinstance(ts := row.get("ts"), int):
                self.newest_ns = max(self.newest_ns, ts)
        return whole

    def arrow(self, data: bytes) -> int:
        """Whole messages; a message that is not all there is left for the next time."""
        source = pa.BufferReader(data)
        used = 0
        while used < len(data):
            try:
                message = pa.ipc.read_message(source)
                if message.type == "schema":
                    self.schema = pa.ipc.read_schema(message)
                elif self.schema is not None:
                    batch = pa.ipc.read_record_batch(message, self.schema)
                    batch.validate(full=True)
                    self.batches.append(batch)
                    if "ts" in self.schema.names and batch.num_rows:
                        self.newest_ns = max(self.newest_ns, int(batch.column("ts").to_numpy().max()))
            except (pa.ArrowException, OSError, EOFError, ValueError):
                break
            used = source.tell()
        return used

    def forget(self, window_ns: int) -> None:
        """Drop what is older than the window, counted from now: a stream that ended grows old too."""
        oldest = self.newest_ns - window_ns + int((time.monotonic() - self.grew_s) * 1e9)
        while self.rows and isinstance(ts := self.rows[0].get("ts"), int) and ts < oldest:
            self.rows.popleft()
        while self.batches and "ts" in self.batches[0].schema.names and int(last(self.batches[0])) < oldest:
            self.batches.popleft()


def last(batch: pa.RecordBatch) -> np.int64:
    """The newest time of a batch."""
    return np.int64(batch.column("ts").to_numpy().max()) if batch.num_rows else np.int64(0)


def added(segment: Path, offset: int) -> bytes:
    """What a segment holds beyond `offset`; nothing of what is no plain file of a size that we write."""
    try:
        info = segment.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_size <= offset or info.st_size > LARGEST_SEGMENT_BYTES:
            return b""
        with open(segment, "rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:  # sealed (renamed) or dropped between the two looks: the next look finds it
        return b""


class GrowingRun:
    """The last `window_ns` of a run. `update` reads on."""

    def __init__(self, path: Path, window_ns: int) -> None:
        self.path, self.window_ns = path, window_ns
        self.manifest: Manifest = read_manifest(path)
        self.tails: dict[str, dict[int, Tail]] = {}

    @property
    def torn(self) -> int:
        return sum(one.torn for tails in self.tails.values() for one in tails.values())

    def update(self) -> None:
        """Read what was written since. Raises UnreadableRun when the folder is gone."""
        self.manifest = read_manifest(self.path)
        streams = self.path / "streams"
        for entry in os.scandir(streams) if streams.is_dir() else ():
            source, _, process = entry.name.rpartition("@")
            if entry.is_symlink() or not entry.is_dir() or not (process == "host" or process.isdecimal()):
                continue
            code = -1 if process == "host" else int(process)
            self.tails.setdefault(source, {}).setdefault(code, Tail(Path(entry.path))).update()
        for tails in self.tails.values():
            for tail in tails.values():
                tail.forget(self.window_ns)

    def rows(self, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(process code, row) of a JSON-lines stream, over all processes."""
        for process, tail in self.tails.get(source, {}).items():
            for row in tail.rows:
                yield process, row

    def columns(self, source: str, names: tuple[str, ...]) -> Iterator[tuple[int, pa.Table]]:
        """(process code, int64 table with the columns `names`) of an Arrow stream, one a process."""
        schema = pa.schema([(name, pa.int64()) for name in names])
        for process, tail in self.tails.get(source, {}).items():
            fitting = [batch for batch in tail.batches if batch.schema == schema]
            if fitting:
                yield process, pa.Table.from_batches(fitting, schema)
