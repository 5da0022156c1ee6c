"""Writes a run folder: a manifest and one folder of segments per stream (source x process), bounded, safe against SIGKILL.

Light: the agent uses it beside the training, so no pandas here, and pyarrow only once an Arrow stream is opened.
"""

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from perfscope.errors import UsageError
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.run.streams import ArrowRows, JsonLines, Stream
from perfscope.traces.secrets import mask_secrets, mask_values

MANIFEST = "manifest.json"
CAP_BYTES = 512 << 20
ROOM = ".room"
ROOM_BYTES = 64 << 10
"""Kept free for the last manifest, which says that the disk was full."""


class RunWriter:
    """The one writer of a run folder. After an I/O error (`stopped` says which) everything is accepted and dropped."""

    def __init__(self, path: Path, manifest: Manifest, cap_bytes: int = CAP_BYTES) -> None:
        self.path, self.manifest, self.cap_bytes = path, manifest, cap_bytes
        self.streams: dict[tuple[str, int], Stream] = {}
        self.stopped: str | None = None
        self.dropped_segments = 0

    @classmethod
    def create(cls, path: Path, manifest: Manifest, cap_bytes: int = CAP_BYTES) -> "RunWriter":
        """Make the folder and write the manifest. Raises UsageError where that is impossible, naming the way out."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(f"{path} is not empty; choose another --out, so that no recording is overwritten")
            writer = cls(path, manifest, cap_bytes)
            writer.take_room()
            try:
                writer.replace_manifest()
            except OSError:
                writer.give_back()
                raise
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {error.strerror}; choose another --out") from None
        return writer

    def take_room(self) -> None:
        """Raises UsageError where another writer has begun here in this moment, as tasks of one launcher may."""
        try:
            with open(self.path / ROOM, "xb") as file:
                file.write(bytes(ROOM_BYTES))
        except FileExistsError:
            raise UsageError(f"{self.path} is being written by another recording; choose another --out") from None
        except OSError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Leave nothing on a disk that has no room even to begin."""
        self.make_room()
        with contextlib.suppress(OSError):
            (self.path / f"{MANIFEST}.new").unlink(missing_ok=True)

    def jsonl(self, source: str, process: int) -> JsonLines:
        """The JSON-lines stream of `source` for a process code (-1: the agent or the host)."""
        stream = self.streams.get((source, process))
        if not isinstance(stream, JsonLines):
            stream = self.streams[source, process] = JsonLines(self.folder(source, process), self.give_up)
        return stream

    def arrow(self, source: str, process: int, columns: tuple[str, ...]) -> ArrowRows:
        """The int64 column stream of `source` for a process code."""
        stream = self.streams.get((source, process))
        if not isinstance(stream, ArrowRows):
            stream = self.streams[source, process] = ArrowRows(self.folder(source, process), columns, self.give_up)
        return stream

    def folder(self, source: str, process: int) -> Path:
        return self.path / "streams" / f"{source}@{process if process >= 0 else 'host'}"

    def give_up(self, error: OSError) -> None:
        """Recording stops; what is there stays readable."""
        if self.stopped is None:
            why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            self.stopped = f"recording stopped: {why} ({self.path})"
            self.manifest.dropped = [*self.manifest.dropped, f"the rest of the recording: {why}"]
            self.make_room()

    def make_room(self) -> None:
        """Give up what was kept free for the last manifest."""
        with contextlib.suppress(OSError):
            (self.path / ROOM).unlink(missing_ok=True)

    def flush(self) -> None:
        """Write what is held; to be called about once a second."""
        for stream in self.streams.values():
            if self.stopped is None:
                stream.flush()
        self.keep_to_cap()

    def keep_to_cap(self) -> None:
        """Drop whole oldest sealed segments of the largest streams while the run is over its cap."""
        sizes = {key: sum(size for _, size in one.sealed) + one.bytes for key, one in self.streams.items()}
        while sum(sizes.values()) > self.cap_bytes:
            full = [key for key in sizes if self.streams[key].sealed]
            if not full:
                return
            largest = max(full, key=lambda key: sizes[key])
            path, size = self.streams[largest].sealed.pop(0)
            path.unlink(missing_ok=True)
            sizes[largest] -= size
            self.dropped_segments += 1
            self.tell_dropped(
                "over the cap", f"{self.dropped_segments} oldest segments over the cap of {self.cap_bytes >> 20} MB"
            )

    def tell_dropped(self, kind: str, line: str) -> None:
        """Say in the manifest what of the recording is missing: `line` replaces the one that holds `kind`."""
        self.manifest.dropped = [*(one for one in self.manifest.dropped if kind not in one), line]

    def replace_manifest(self) -> None:
        temporary = self.path / f"{MANIFEST}.new"
        masked = mask_values(msgspec.to_builtins(self.manifest)) | {"command": mask_secrets(self.manifest.command)}
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(masked), indent=2))
        os.replace(temporary, self.path / MANIFEST)

    def write_manifest(self) -> None:
        """Replace the manifest whole, or keep the old one when there is no room."""
        try:
            self.replace_manifest()
        except OSError as error:
            self.give_up(error)

    def close(self) -> None:
        """Seal every segment and write the last manifest, on a full disk into the room kept for it."""
        for stream in self.streams.values():
            if self.stopped is None:
                stream.close()
            elif stream.file is not None:
                with contextlib.suppress(OSError):  # what it still holds has no room
                    stream.file.close()
        self.make_room()
        self.write_manifest()
