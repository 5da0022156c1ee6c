"""The traces of windows in the run folder: packed on threads of their own, told of in a stream, the oldest dropped at last."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

from isal import isal_zlib

from perfscope.agent.collector import TargetProcess
from perfscope.traces.run.folder import RunWriter

CHUNK_BYTES = 1 << 20
LARGEST_TRACE_BYTES = 1 << 30
MOST_STORED_BYTES = 256 << 20
"""Of all traces together, packed: about an hour of a window a minute of a busy program."""
GZIP = 31
FASTEST = 1
FOLDER = "kineto"


class TraceStore:
    """`kineto/` of one run folder. `write_down` belongs to the recorder's thread, which writes the streams."""

    def __init__(self, run: RunWriter) -> None:
        self.run = run
        self.names: set[str] = set()
        self.kept: list[tuple[int, Path, int]] = []
        self.finished: list[tuple[int, dict[str, Any], Path]] = []
        self.threads: list[threading.Thread] = []
        self.trouble: list[str] = []
        self.stored = self.dropped = 0

    def keep(self, file: int, note: dict[str, Any], target: TargetProcess) -> None:
        """Pack an open trace, and note it; `file` is closed here."""
        path = self.run.path / FOLDER / self.fresh(max(target.rank, 0))
        note["name"] = path.name
        thread = threading.Thread(target=self.packed, args=(file, note, target.process, path))
        thread.start()
        self.threads = [one for one in self.threads if one.is_alive()] + [thread]

    def tell(self, note: dict[str, Any], target: TargetProcess) -> None:
        """Of a trial, of which nothing is kept: the steps beside it are distorted."""
        self.run.jsonl("kernels", target.process).append(note)

    def fresh(self, rank: int) -> str:
        """`rank0.json.gz`, then `rank0-2.json.gz` ..."""
        number = 1
        while (name := f"rank{rank}{'' if number == 1 else f'-{number}'}.json.gz") in self.names:
            number += 1
        self.names.add(name)
        return name

    def packed(self, file: int, note: dict[str, Any], process: int, path: Path) -> None:
        fresh = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(exist_ok=True)
            pack(file, fresh)
            os.replace(fresh, path)
            self.finished.append((process, note, path))
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            self.trouble.append(f"the trace of a window could not be stored: {error.strerror or error}")
        finally:
            os.close(file)

    def write_down(self) -> None:
        """Tell of what the packing threads have finished, and make room."""
        while self.finished:
            process, note, path = self.finished.pop(0)
            self.run.jsonl("kernels", process).append(note)
            self.kept.append((process, path, path.stat().st_size))
            self.stored += 1
            self.make_room()
            if not note.get("on_demand"):
                self.run.manifest.depth = "kernels"
            self.run.write_manifest()

    def make_room(self) -> None:
        """Drop the oldest traces beyond the limit; when those windows were stays known, for the steps they distorted."""
        while len(self.kept) > 1 and sum(size for *_, size in self.kept) > MOST_STORED_BYTES:
            process, path, _ = self.kept.pop(0)
            path.unlink(missing_ok=True)
            self.run.jsonl("kernels", process).append({"gone": path.name})
            self.dropped += 1
            line = f"{self.dropped} oldest traces of windows over {MOST_STORED_BYTES >> 20} MB"
            self.run.tell_dropped("oldest traces", line)

    def finish(self) -> None:
        """Wait for what is being packed."""
        for thread in self.threads:
            thread.join()
        self.write_down()


def pack(file: int, path: Path) -> None:
    """Compress a memory file to `path`. Raises OSError."""
    packer = isal_zlib.compressobj(FASTEST, isal_zlib.DEFLATED, GZIP)
    offset = 0
    with path.open("wb") as out:
        while offset < LARGEST_TRACE_BYTES:
            piece = os.pread(file, CHUNK_BYTES, offset)
            if not piece:
                break
            offset += len(piece)
            out.write(packer.compress(piece.replace(b"\0", b"")))  # behind the name of the file, which it holds
        out.write(packer.flush())
