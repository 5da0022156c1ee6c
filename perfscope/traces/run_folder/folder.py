"""Writes a run folder: a manifest, and one folder of segments per stream (source and process). Its
size is bounded, and it stays readable when the writer is killed.

The folder is held open from its creation on (`held_folder`). The agent runs next to the training,
so this module imports neither pandas, numpy nor pyarrow.
"""

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from perfscope.errors import UsageError
from perfscope.traces.privacy.secret_masking import mask_secrets, mask_values
from perfscope.traces.run_folder.json_encoding import encode
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.open_folder import HeldFolder, create_run_folder
from perfscope.traces.run_folder.streams import ArrowRows, JsonLines, Stream

MANIFEST = "manifest.json"
NEW_MANIFEST = f"{MANIFEST}.new"
STREAMS = "streams"
CAP_BYTES = 512 << 20
RESERVE = ".room"
RESERVE_BYTES = 64 << 10
"""Disk space that is reserved for the last manifest, which reports a full disk."""
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file reached the limit of `ulimit -f`",
    errno.EROFS: "the file system became read-only",
    errno.EMFILE: "the number of open files reached the limit of `ulimit -n`",
}


class RunWriter:
    """The only writer of a run folder. After an I/O error, which `stopped` describes, it accepts
    and drops everything.
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
        """Create the folder and write the manifest. Raises UsageError where that is impossible."""
        try:
            writer = cls(path, create_run_folder(path), manifest, cap_bytes)
            try:
                writer.begin()
            except (OSError, UsageError):
                writer.held.close()
                raise
        except OSError as error:
            raise UsageError(
                f"cannot write to {path}: {error.strerror}. Choose another folder with --out."
            ) from None
        return writer

    def begin(self) -> None:
        """Write the first manifest. Raises OSError, and UsageError as `reserve_space` does."""
        self.reserve_space()
        try:
            self.replace_manifest()
        except OSError:
            self.remove_all()
            raise

    def reserve_space(self) -> None:
        """Reserve space for the last manifest.

        Raises UsageError where another writer has just begun in the same folder, as tasks of one
        launcher may do. Raises OSError.
        """
        try:
            with open(self.held.create(RESERVE), "wb") as file:
                file.write(bytes(RESERVE_BYTES))
        except FileExistsError:
            raise UsageError(
                f"another recording is writing {self.path}. Choose another folder with --out."
            ) from None
        except OSError:
            self.remove_all()
            raise

    def remove_all(self) -> None:
        """Remove the files, on a disk that has no space for the first manifest."""
        self.release_space()
        with contextlib.suppress(OSError):
            self.held.remove(NEW_MANIFEST)

    def jsonl(self, source: str, process: int) -> JsonLines:
        """Return the JSON-lines stream of `source` for a process code (-1: agent or host)."""
        stream = self.streams.get((source, process))
        if not isinstance(stream, JsonLines):
            name = stream_name(source, process)
            stream = self.streams[source, process] = JsonLines(
                name, self.folder_of_streams, self.give_up
            )
        return stream

    def arrow(self, source: str, process: int, columns: tuple[str, ...]) -> ArrowRows:
        """Return the stream of int64 columns of `source` for a process code."""
        stream = self.streams.get((source, process))
        if not isinstance(stream, ArrowRows):
            name = stream_name(source, process)
            stream = self.streams[source, process] = ArrowRows(
                name, columns, self.folder_of_streams, self.give_up
            )
        return stream

    def folder_of_streams(self) -> HeldFolder:
        """Return the folder of all streams, which is created when the first stream is written.

        Raises OSError.
        """
        if self.stream_folders is None:
            self.stream_folders = self.held.folder(STREAMS)
        return self.stream_folders

    def give_up(self, error: OSError) -> None:
        """Stop recording after an I/O error. What was written stays readable."""
        self.deleted = self.held.is_deleted()
        if self.stopped is None:
            reason = self.reason_of(error)
            self.stopped = f"recording stopped: {reason} ({self.path})"
            self.manifest.dropped = [
                *self.manifest.dropped,
                f"the rest of the recording: {reason}",
            ]

    def is_deleted(self) -> bool:
        """Return whether the run folder, or the folder of its streams, was removed."""
        return self.held.is_deleted() or (
            self.stream_folders is not None and self.stream_folders.is_deleted()
        )

    def reason_of(self, error: OSError) -> str:
        """Return why writing failed."""
        if self.deleted:
            return "the run folder was deleted"
        if self.is_deleted():
            return "files in the run folder were deleted"
        return REASONS.get(error.errno or 0, error.strerror or str(error))

    def release_space(self) -> None:
        """Release the space that is reserved for the last manifest."""
        with contextlib.suppress(OSError):
            self.held.remove(RESERVE)

    def flush(self) -> None:
        """Write the rows that are in memory. Called about once a second."""
        if self.stopped is None and self.is_deleted():
            self.give_up(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
        for stream in self.streams.values():
            if self.stopped is None:
                stream.flush()
        self.drop_above_cap()

    def drop_above_cap(self) -> None:
        """Drop the oldest sealed segments of the largest streams until the run is within its
        cap.
        """
        sizes = {
            key: sum(size for _, size in stream.sealed) + stream.bytes
            for key, stream in self.streams.items()
        }
        while sum(sizes.values()) > self.cap_bytes:
            with_sealed = [key for key in sizes if self.streams[key].sealed]
            if not with_sealed:
                return
            largest = max(with_sealed, key=lambda key: sizes[key])
            sizes[largest] -= self.streams[largest].drop_oldest()
            self.dropped_segments += 1
            self.note_dropped(
                "over the cap",
                f"{self.dropped_segments} oldest segments over the cap of"
                f" {self.cap_bytes >> 20} MB",
            )

    def note_dropped(self, kind: str, line: str) -> None:
        """Note in the manifest what is missing. `line` replaces an earlier one that contains
        `kind`.
        """
        others = [other for other in self.manifest.dropped if kind not in other]
        self.manifest.dropped = [*others, line]

    def replace_manifest(self) -> None:
        """Write a new manifest, and rename it to replace the old one. Raises OSError."""
        masked = mask_values(msgspec.to_builtins(self.manifest))
        masked["command"] = mask_secrets(self.manifest.command)
        self.held.remove(NEW_MANIFEST)
        with open(self.held.create(NEW_MANIFEST), "wb") as file:
            file.write(msgspec.json.format(encode(masked), indent=2))
        self.held.rename(NEW_MANIFEST, MANIFEST)

    def write_manifest(self) -> None:
        """Replace the manifest. The old one stays, and recording stops, when that fails."""
        try:
            self.replace_manifest()
        except OSError as error:
            self.give_up(error)

    def close(self) -> None:
        """Seal every segment and write the last manifest, on a full disk into the reserved
        space.
        """
        self.seal()
        self.finish()
        self.close_folders()

    def seal(self) -> None:
        """Write the rows in memory and seal every segment. After an error they stay as they are."""
        for stream in self.streams.values():
            if self.stopped is None:
                stream.close()
            else:
                stream.abandon()

    def finish(self) -> None:
        """Write the last manifest. The folder stays open, for `held.location`."""
        self.release_space()
        self.write_manifest()

    def close_folders(self) -> None:
        """Close the folder."""
        for folder in filter(None, (self.stream_folders, self.held)):
            folder.close()


def stream_name(source: str, process: int) -> str:
    """Return the name of a stream's folder: `host.counters@host`, `probe.records@3`."""
    return f"{source}@{process if process >= 0 else 'host'}"
