"""Where what was read of a large trace is kept for the next time. See kept.py."""

import hashlib
import os
from pathlib import Path
from typing import Final

from perfscope.traces.run.folder import MANIFEST
from perfscope.traces.schema import SCHEMA_VERSION

# To be raised when the same file gives other tables than before.
READER_VERSION: Final = 5
HEAD_BYTES: Final = 1 << 16


def folder_of(path: Path) -> Path:
    """Where what was read of `path` is kept."""
    return kept_root(path) / key_of(path)


def kept_root(path: Path) -> Path:
    """The folder of all that is kept: in the run folder that the trace lies in, else the user's."""
    for parent in list(path.resolve().parents)[:3]:
        if parent.name.endswith(".perfscope") and (parent / MANIFEST).is_file():
            return parent / "cache"
    return user_cache() / "traces"


def user_cache() -> Path:
    """The user's cache folder for what is ours."""
    home = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "perfscope"


def key_of(path: Path) -> str:
    """Changes with the file, with the reader and with the schema."""
    status = path.stat()
    with open(path, "rb") as file:
        start = file.read(HEAD_BYTES)
    said = f"{READER_VERSION} {SCHEMA_VERSION} {path.resolve()} {status.st_size} {status.st_mtime_ns} "
    return hashlib.sha256(said.encode("utf-8", "surrogateescape") + start).hexdigest()[:32]
