"""Reads the files of a run folder, also of one that is incomplete: the manifest and the rows of its
streams.

Nothing in the folder is trusted. Links are not followed, and pipes and devices are not opened. What
cannot be parsed or exceeds the bounds below is counted as damaged. Memory is bounded by the size of
the files: at most `MOST_BYTES` of segments are read, their JSON rows have at most `MOST_CELLS`
values, and a value takes at most about 200 bytes.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import pyarrow as pa

from perfscope.errors import UnreadableRun
from perfscope.traces.regular_file import is_regular, open_regular
from perfscope.traces.run_folder.arrow_messages import ArrowReader
from perfscope.traces.run_folder.cell_types import is_time, is_wall_time
from perfscope.traces.run_folder.folder import MANIFEST
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import SCHEMA_VERSION

LARGEST_MANIFEST_BYTES: Final = 16 << 20
LARGEST_SEGMENT_BYTES: Final = 256 << 20
MOST_BYTES: Final = 1 << 30
"""All segments of a run together. Writers keep a run below half of it."""
MOST_CELLS: Final = 40 << 20
"""Values in the JSON rows of a run."""
LONGEST_LINE: Final = 1 << 20
MOST_SEGMENTS: Final = 1 << 16
STREAM: Final = re.compile(r"(.+)@(host|[0-9]{1,9})", re.DOTALL)
SEGMENT: Final = re.compile(r"([0-9]{1,12})\.(open|jsonl|arrow)")
NOT_JSON: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
decoded_row = msgspec.json.Decoder(dict[str, Any]).decode


class Version(msgspec.Struct):
    """The format of a manifest, which is read before the rest of it."""

    schema: int
    tool_version: str = "?"


def is_run(path: Path) -> bool:
    """Return whether a path is a run folder, false for one without permission to read it."""
    try:
        return path.is_dir() and is_regular(path / MANIFEST)
    except PermissionError:
        return False


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a run folder. Raises UnreadableRun."""
    file = path / MANIFEST
    if not path.exists():
        raise UnreadableRun(f"{path} does not exist")
    if path.is_dir() and not os.access(path, os.X_OK):
        raise UnreadableRun(
            f"cannot read {path}: no permission to open the folder. Ask its owner for access, or"
            " run perfscope as root."
        )
    if not is_run(path):
        why = "is not a regular file" if os.path.lexists(file) else "is missing"
        raise UnreadableRun(f"{path} is not a run folder: its {MANIFEST} {why}")
    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > LARGEST_MANIFEST_BYTES:
                raise UnreadableRun(
                    f"{file} has {size >> 20} MB, so it was not written by perfscope"
                )
            text = opened.read(LARGEST_MANIFEST_BYTES)
    except OSError as error:
        raise UnreadableRun(f"cannot read {file}: {error.strerror}") from None
    try:
        return decoded_manifest(path, text)
    except NOT_JSON as error:
        raise UnreadableRun(f"{file} is damaged: {error}") from None


def decoded_manifest(path: Path, text: bytes) -> Manifest:
    """Return the manifest in `text`. Raises UnreadableRun for a newer format, and the errors in
    `NOT_JSON`.
    """
    version = msgspec.json.decode(text, type=Version)
    if version.schema > SCHEMA_VERSION:
        raise UnreadableRun(
            f"{path} was written by perfscope-ml {version.tool_version} in format {version.schema},"
            f" and this version reads formats up to {SCHEMA_VERSION}. Upgrade perfscope-ml."
        )
    manifest = msgspec.json.decode(text, type=Manifest)
    plausible = is_time(manifest.zero_monotonic_ns) and is_wall_time(manifest.zero_realtime_ns)
    if not plausible or not fits_64_bits(msgspec.to_builtins(manifest)):
        raise msgspec.ValidationError("a number in it is out of range")
    return manifest


def fits_64_bits(value: Any) -> bool:
    """Return whether all whole numbers in a value fit into 64 bits."""
    if isinstance(value, int):
        return abs(value) < 1 << 63
    if isinstance(value, dict):
        return all(map(fits_64_bits, value.values()))
    return not isinstance(value, list) or all(map(fits_64_bits, value))


def stream_folders(path: Path) -> list[tuple[str, int, Path]]:
    """Return (source, process code, folder) of every stream of a run folder, in the order of their
    names. Links, and names that perfscope does not use, are left out. Raises OSError.
    """
    streams = path / "streams"
    try:
        if not stat.S_ISDIR(streams.lstat().st_mode):
            return []
    except FileNotFoundError:
        return []
    found = []
    with os.scandir(streams) as entries:
        for entry in entries:
            name = STREAM.fullmatch(entry.name)
            if name and entry.is_dir(follow_symlinks=False):
                process = -1 if name[2] == "host" else int(name[2])
                found.append((name[1], process, Path(entry.path)))
    return sorted(found, key=lambda stream: stream[2])


@dataclass
class StoredRun:
    """An opened run folder. `damaged_records` counts records and segments that could not be read or
    exceed a bound.
    """

    path: Path
    manifest: Manifest
    damaged_records: int = 0
    streams: dict[str, list[tuple[int, Path]]] = field(default_factory=dict)
    taken_bytes: Counter[Path] = field(default_factory=Counter)
    taken_cells: Counter[str] = field(default_factory=Counter)
    all_bytes: int = 0

    @classmethod
    def open(cls, path: Path) -> "StoredRun":
        """Open a run folder. Raises UnreadableRun."""
        run = cls(path, read_manifest(path))
        try:
            for source, process, folder in stream_folders(path):
                run.streams.setdefault(source, []).append((process, folder))
        except OSError as error:
            raise UnreadableRun(f"cannot read {path}: {error.strerror}") from None
        return run

    def segments(self, folder: Path) -> Iterator[BinaryIO]:
        """Yield the segments of a stream as open files, in order; the one that is still written
        last.
        """
        try:
            names = sorted(name for name in os.listdir(folder) if SEGMENT.fullmatch(name))
        except OSError:
            self.damaged_records += 1
            return
        self.all_bytes -= self.taken_bytes.pop(folder, 0)  # it is read again
        for name in names[:MOST_SEGMENTS]:
            try:
                with open_regular(folder / name) as file:
                    size = os.fstat(file.fileno()).st_size
                    if size > LARGEST_SEGMENT_BYTES or self.all_bytes + size > MOST_BYTES:
                        self.damaged_records += 1
                        continue
                    self.taken_bytes[folder] += size
                    self.all_bytes += size
                    yield file
            except OSError:
                self.damaged_records += 1

    def rows(self, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (process code, row) of the JSON-lines streams of a source."""
        self.taken_cells[source] = 0
        left = MOST_CELLS - sum(self.taken_cells.values())
        for process, folder in self.streams.get(source, ()):
            for segment in self.segments(folder):
                for row in self.rows_of(segment):
                    self.taken_cells[source] += len(row) + 1
                    if self.taken_cells[source] > left:
                        self.damaged_records += 1
                        return
                    yield process, row

    def rows_of(self, segment: BinaryIO) -> Iterator[dict[str, Any]]:
        """Yield the rows of one segment; a line that is too long or not an object is damaged."""
        while line := segment.readline(LONGEST_LINE):
            too_long = False
            while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                too_long, line = True, segment.readline(LONGEST_LINE)
            if line in (b"", b"\n") and not too_long:
                continue
            try:
                row = None if too_long else decoded_row(line)
            except NOT_JSON:
                row = None
            if row is None:
                self.damaged_records += 1
            else:
                yield row

    def count_damaged_rows(self, count: int) -> None:
        """Count rows with impossible values."""
        self.damaged_records += count

    def columns(self, source: str, names: tuple[str, ...]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (process code, table of int64 with the columns `names`) of the Arrow streams of a
        source.
        """
        for process, folder in self.streams.get(source, ()):
            batches = [
                batch
                for segment in self.segments(folder)
                if (batch := self.batch(segment, names)) is not None
            ]
            if batches:
                yield process, pa.Table.from_batches(batches)

    def batch(self, segment: BinaryIO, names: tuple[str, ...]) -> pa.RecordBatch | None:
        """Return the rows of one segment, None without any. A segment with anything but complete
        record batches of these columns is damaged.
        """
        data = segment.read(LARGEST_SEGMENT_BYTES)
        reader = ArrowReader()
        reader.read(data)
        if not reader.is_whole(data) or reader.names not in (None, names):
            self.damaged_records += 1
        return reader.take_rows() if reader.names == names else None
