"""Deletes run folders that belong to the reader and contain nothing but what perfscope wrote."""

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perfscope.errors import PerfscopeError, UnreadableRun
from perfscope.traces.run_folder.folder import MANIFEST, NEW_MANIFEST, RESERVE, STREAMS
from perfscope.traces.run_folder.kernel_windows import FILE_NAME, FOLDER
from perfscope.traces.run_folder.stored import read_manifest

GROWING_S: Final = 60.0
"""A recording writes once per second. A folder without an end that changed so recently grows."""
ENTRIES: Final = (
    re.compile("|".join(map(re.escape, (MANIFEST, NEW_MANIFEST, RESERVE, STREAMS, FOLDER)))),
    re.compile(rf"{STREAMS}/[^/]+@(host|[0-9]{{1,9}})(/[0-9]{{1,12}}\.(open|jsonl|arrow))?"),
    re.compile(rf"{FOLDER}/{FILE_NAME.pattern}"),
)
"""The paths in a run folder."""


def why_kept(path: Path) -> str | None:
    """Return why a run folder is not deleted, None where it may be.

    It must belong to the user of this process with everything in it, must not be recorded any more,
    and must contain only what a recording writes. Links are not followed.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return "it is not a run folder"
        finished = read_manifest(path).finished
        infos = {"": path.lstat()} | dict(entries_below(path))
    except (OSError, UnreadableRun) as error:
        return str(error)
    if any(info.st_uid != os.geteuid() for info in infos.values()):
        return "it belongs to another user"
    foreign = [name for name in infos if name and not is_part_of_run(name, infos[name].st_mode)]
    if foreign:
        return f"it contains {foreign[0]}, which perfscope did not write"
    changed_s = max(info.st_mtime for info in infos.values())
    if not finished and time.time() - changed_s < GROWING_S:
        return "it is still being recorded"
    return None


def entries_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the relative path and the state of everything below a folder. Raises OSError."""
    for entry in sorted(folder.rglob("*")):
        yield str(entry.relative_to(folder)), entry.lstat()


def is_part_of_run(name: str, mode: int) -> bool:
    """Return whether a recording writes an entry with this relative path and this mode."""
    is_plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return is_plain and any(pattern.fullmatch(name) for pattern in ENTRIES)


def remove_run(path: Path) -> None:
    """Delete a run folder. Raises PerfscopeError with the reason where it is kept.

    It is first renamed, so that nobody reads half of it, and what is deleted is what was checked.
    """
    why = why_kept(path)
    if why is not None:
        raise PerfscopeError(f"{path.name} was not deleted: {why}.")
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".deleted-", dir=path.parent))
        moved = scratch / path.name
        os.rename(path, moved)
        why = why_kept(moved)
        if why is not None:  # it was exchanged just now
            os.rename(moved, path)
            scratch.rmdir()
            raise PerfscopeError(f"{path.name} was not deleted: {why}.")
        shutil.rmtree(scratch)
    except OSError as error:
        raise PerfscopeError(f"{path.name} was not deleted: {error.strerror}.") from None
