"""Writes a run folder: a manifest and one folder of segments per stream (source x process),
bounded, safe against SIGKILL.

The folder is held open from its creation on (`held_folder`). Light: the agent uses it beside the
training, so no pandas, numpy or pyarrow here.
"""

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from perfscope.errors import UsageError
from perfscope.traces.run.encoding import encode
from perfscope.traces.run.held_folder import HeldFolder, create_run_folder
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.run.streams import ArrowRows, JsonLines, Stream
from perfscope.traces.secret_masking import mask_secrets, mask_values

MANIFEST = "manifest.json"
NEW_MANIFEST = f"{MANIFEST}.new"
STREAMS = "streams"
CAP_BYTES = 512 << 20
ROOM = ".room"
ROOM_BYTES = 64 << 10
"""Kept free for the last manifest, which says that the disk was full."""
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file is as large as `ulimit -f` allows",
    errno.EROFS: "the file system is read-only now",
    errno.EMFILE: "more files are needed than `ulimit -n` allows",
}


class RunWriter:
    """The one writer of a run folder. After an I/O error (`stopped` says which) everything is
    accepted and dropped.
    """

    def __init__(
        self, path: Path, held: HeldFolder, manifest: Manifest, cap_bytes: int = CAP_BYTES
    ) -> None:
        self.path, self.held, self.manifest, self.cap_bytes = path, held, manifest, cap_bytes
        self.streams: dict[tuple[str, int], Stream] = {}
        self.stream_folders: HeldFolder | None = None
        self.stopped: str | None = None
        self.deleted = False
        self.dropped_segments = 0

    @classmethod
    def create(cls, path: Path, manifest: Manifest, cap_bytes: int = CAP_BYTES) -> "RunWriter":
        """Make the folder and write the manifest. Raises UsageError where that is impossible,
        naming the way out.
        """
        try:
            writer = cls(path, create_run_folder(path), manifest, cap_bytes)
            try:
                writer.begin()
            except (OSError, UsageError):
                writer.held.close()
                raise
        except OSError as error:
            raise UsageError(
                f"cannot write to {path}: {error.strerror}; choose another --out"
            ) from None
        return writer

    def begin(self) -> None:
        """Take the folder and write the first manifest. Raises OSError, and UsageError as
        `take_room`.
        """
        self.take_room()
        try:
            self.replace_manifest()
        except OSError:
            self.give_back()
            raise

    def take_room(self) -> None:
        """Raises UsageError where another writer has begun here in this moment, as tasks of one
        launcher may.
        """
        try:
            with open(self.held.create(ROOM), "wb") as file:
                file.write(bytes(ROOM_BYTES))
        except FileExistsError:
            raise UsageError(
                f"{self.path} is being written by another recording; choose another --out"
            ) from None
        except OSError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Leave nothing on a disk that has no room even to begin."""
        self.make_room()
        with contextlib.suppress(OSError):
            self.held.remove(NEW_MANIFEST)

    def jsonl(self, source: str, process: int) -> JsonLines:
        """The JSON-lines stream of `source` for a process code (-1: the agent or the host)."""
        stream = self.streams.get((source, process))
        if not isinstance(stream, JsonLines):
            name = stream_name(source, process)
            stream = self.streams[source, process] = JsonLines(
                name, self.folder_of_streams, self.give_up
            )
        return stream

    def arrow(self, source: str, process: int, columns: tuple[str, ...]) -> ArrowRows:
        """The int64 column stream of `source` for a process code."""
        stream = self.streams.get((source, process))
        if not isinstance(stream, ArrowRows):
            name = stream_name(source, process)
            stream = self.streams[source, process] = ArrowRows(
                name, columns, self.folder_of_streams, self.give_up
            )
        return stream

    def folder_of_streams(self) -> HeldFolder:
        """The folder that holds a folder for each stream, created when the first of them is
        written. Raises OSError.
        """
        if self.stream_folders is None:
            self.stream_folders = self.held.folder(STREAMS)
        return self.stream_folders

    def give_up(self, error: OSError) -> None:
        """Recording stops; what is there stays readable."""
        self.deleted = self.held.is_deleted()
        if self.stopped is None:
            why = self.reason_of(error)
            self.stopped = f"recording stopped: {why} ({self.path})"
            self.manifest.dropped = [*self.manifest.dropped, f"the rest of the recording: {why}"]

    def is_deleted(self) -> bool:
        """Return whether the run folder, or what it holds, was removed."""
        return self.held.is_deleted() or (
            self.stream_folders is not None and self.stream_folders.is_deleted()
        )

    def reason_of(self, error: OSError) -> str:
        """What kept us from writing."""
        if self.deleted:
            return "the run folder was deleted"
        if self.is_deleted():
            return "files in the run folder were deleted"
        return REASONS.get(error.errno or 0, error.strerror or str(error))

    def make_room(self) -> None:
        """Give up what was kept free for the last manifest."""
        with contextlib.suppress(OSError):
            self.held.remove(ROOM)

    def flush(self) -> None:
        """Write what is held; to be called about once a second."""
        if self.stopped is None and self.is_deleted():
            self.give_up(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
        for stream in self.streams.values():
            if self.stopped is None:
                stream.flush()
        self.keep_to_cap()

    def keep_to_cap(self) -> None:
        """Drop whole oldest sealed segments of the largest streams while the run is over its
        cap.
        """
        sizes = {
            key: sum(size for _, size in one.sealed) + one.bytes
            for key, one in self.streams.items()
        }
        while sum(sizes.values()) > self.cap_bytes:
            full = [key for key in sizes if self.streams[key].sealed]
            if not full:
                return
            largest = max(full, key=lambda key: sizes[key])
            sizes[largest] -= self.streams[largest].drop_oldest()
            self.dropped_segments += 1
            self.tell_dropped(
                "over the cap",
                f"{self.dropped_segments} oldest segments over the cap of"
                f" {self.cap_bytes >> 20} MB",
            )

    def tell_dropped(self, kind: str, line: str) -> None:
        """Say in the manifest what of the recording is missing: `line` replaces the one that holds
        `kind`.
        """
        self.manifest.dropped = [*(one for one in self.manifest.dropped if kind not in one), line]

    def replace_manifest(self) -> None:
        """Write a new manifest and put it in the place of the old one. Raises OSError."""
        masked = mask_values(msgspec.to_builtins(self.manifest)) | {
            "command": mask_secrets(self.manifest.command)
        }
        self.held.remove(NEW_MANIFEST)
        with open(self.held.create(NEW_MANIFEST), "wb") as file:
            file.write(msgspec.json.format(encode(masked), indent=2))
        self.held.rename(NEW_MANIFEST, MANIFEST)

    def write_manifest(self) -> None:
        """Replace the manifest whole, or keep the old one when there is no room."""
        try:
            self.replace_manifest()
        except OSError as error:
            self.give_up(error)

    def close(self) -> None:
        """Seal every segment and write the last manifest, on a full disk into the room kept for
        it.
        """
        self.seal()
        self.finish()
        self.let_go()

    def seal(self) -> None:
        """Write what is held and seal every segment; where recording has stopped they stay as they
        are.
        """
        for stream in self.streams.values():
            if self.stopped is None:
                stream.close()
            else:
                stream.abandon()

    def finish(self) -> None:
        """Write the last manifest. The folder stays held, for `held.location`."""
        self.make_room()
        self.write_manifest()

    def let_go(self) -> None:
        """Close the descriptors of the folder."""
        for folder in filter(None, (self.stream_folders, self.held)):
            folder.close()


def stream_name(source: str, process: int) -> str:
    """The folder of a stream: `host.counters@host`, `probe.records@3`."""
    return f"{source}@{process if process >= 0 else 'host'}"
