"""Reads the files of a run folder, finished, growing or cut short: the manifest and the rows of its streams.

Nothing in the folder is trusted: links are not followed, sizes are bounded, what does not parse is counted as torn.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from perfscope.errors import UnreadableRun
from perfscope.traces.run.folder import MANIFEST
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.schema import SCHEMA_VERSION

LARGEST_MANIFEST_BYTES = 16 << 20
LARGEST_SEGMENT_BYTES = 256 << 20


class Version(msgspec.Struct):
    """The one field that is read before all others."""

    schema: int
    tool_version: str = "?"


def is_run(path: Path) -> bool:
    """Does `path` look like a run folder? One that we may not read does not."""
    try:
        return path.is_dir() and (path / MANIFEST).is_file()
    except PermissionError:
        return False


def read_manifest(path: Path) -> Manifest:
    """The manifest of the run folder at `path`. Raises UnreadableRun with what to do."""
    file = path / MANIFEST
    if not path.exists():
        raise UnreadableRun(f"{path} does not exist")
    if path.is_dir() and not os.access(path, os.X_OK):
        raise UnreadableRun(f"cannot read {path}: it is another user's; ask them, or read it as root")
    if not is_run(path):
        raise UnreadableRun(f"{path} is not a run folder: it has no {MANIFEST}")
    if file.stat().st_size > LARGEST_MANIFEST_BYTES:
        raise UnreadableRun(f"{file} is {file.stat().st_size >> 20} MB large: not one of ours")
    try:
        text = file.read_bytes()
        version = msgspec.json.decode(text, type=Version)
        if version.schema > SCHEMA_VERSION:
            raise UnreadableRun(
                f"{path} was written by perfscope-ml {version.tool_version} in format {version.schema}; this one reads up to "
                f"format {SCHEMA_VERSION}: upgrade perfscope-ml"
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRun(f"{file} is damaged: {error}") from None
    except OSError as error:
        raise UnreadableRun(f"cannot read {file}: {error.strerror}") from None


@dataclass
class StoredRun:
    """An opened run folder. `torn` counts records and segments that could not be read."""

    path: Path
    manifest: Manifest
    torn: int = 0
    streams: dict[str, list[tuple[int, Path]]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "StoredRun":
        """Raises UnreadableRun."""
        run = cls(path, read_manifest(path))
        try:
            folders = sorted((path / "streams").iterdir()) if (path / "streams").is_dir() else []
        except OSError as error:
            raise UnreadableRun(f"cannot read {path}: {error.strerror}") from None
        for folder in folders:
            source, _, process = folder.name.rpartition("@")
            if folder.is_symlink() or not folder.is_dir() or not (process == "host" or process.isdecimal()):
                continue
            run.streams.setdefault(source, []).append((-1 if process == "host" else int(process), folder))
        return run

    def segments(self, folder: Path) -> Iterator[Path]:
        """Segments in order; the open one last."""
        for path in sorted(folder.iterdir()):
            info = path.lstat()
            if not stat.S_ISREG(info.st_mode) or path.suffix not in (".open", ".jsonl", ".arrow"):
                continue
            if info.st_size > LARGEST_SEGMENT_BYTES:
                self.torn += 1
                continue
            yield path

    def rows(self, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(process code, row) of a JSON-lines stream, over all processes."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        for process, folder in self.streams.get(source, ()):
            for segment in self.segments(folder):
                for line in self.read(segment).split(b"\n"):
                    if not line:
                        continue
                    try:
                        yield process, decode(line)
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        self.torn += 1

    def read(self, segment: Path) -> bytes:
        try:
            return segment.read_bytes()
        except OSError:
            self.torn += 1
            return b""

    def columns(self, source: str, names: tuple[str, ...]) -> Iterator[tuple[int, pa.Table]]:
        """(process code, int64 table with the columns `names`) of an Arrow stream, one a process."""
        schema = pa.schema([(name, pa.int64()) for name in names])
        for process, folder in self.streams.get(source, ()):
            batches: list[pa.RecordBatch] = []
            for segment in self.segments(folder):
                batches += self.batches(segment, schema)
            if batches:
                yield process, pa.Table.from_batches(batches, schema)

    def batches(self, segment: Path, schema: pa.Schema) -> list[pa.RecordBatch]:
        """Whole record batches of one segment; the rest is torn."""
        whole: list[pa.RecordBatch] = []
        try:
            with pa.ipc.open_stream(pa.BufferReader(self.read(segment))) as reader:
                if reader.schema != schema:
                    self.torn += 1
                    return []
                for batch in reader:
                    batch.validate(full=True)
                    whole.append(batch)
        except (pa.ArrowInvalid, pa.ArrowException, OSError, EOFError, ValueError, MemoryError):
            self.torn += 1
        return whole
