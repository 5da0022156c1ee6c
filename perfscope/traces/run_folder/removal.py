"""Deletes run folders that belong to the reader and contain nothing but what perfscope wrote."""

import errno
import os
import re
import secrets
import shutil
import stat
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

    It is first moved into a new folder of this user, so that nobody reads half of it, and what is
    deleted is what was checked, whatever the owner of the folder above exchanges meanwhile.
    """
    refuse_to_delete(path, why_kept(path))
    try:
        parent = os.open(path.parent, os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            delete_in(parent, path)
        finally:
            os.close(parent)
    except OSError as error:
        raise PerfscopeError(f"{path.name} was not deleted: {error.strerror}.") from None


def refuse_to_delete(path: Path, why: str | None) -> None:
    """Raise PerfscopeError if there is a reason to keep a run folder."""
    if why is not None:
        raise PerfscopeError(f"{path.name} was not deleted: {why}.")


def delete_in(parent: int, path: Path) -> None:
    """Delete a run folder in the folder of descriptor `parent`. Raises OSError, PerfscopeError."""
    scratch_name = f".deleted-{secrets.token_hex(8)}"
    os.mkdir(scratch_name, 0o700, dir_fd=parent)
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    scratch = os.open(scratch_name, flags, dir_fd=parent)
    try:
        info = os.fstat(scratch)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise PermissionError(errno.EPERM, "the folder was exchanged")
        os.rename(path.name, path.name, src_dir_fd=parent, dst_dir_fd=scratch)
        # The descriptor, not a name that the owner of the parent could give to another folder.
        moved = Path(f"/proc/self/fd/{scratch}/{path.name}")
        why = why_kept(moved)
        if why is not None:  # it was exchanged just now
            os.rename(path.name, path.name, src_dir_fd=scratch, dst_dir_fd=parent)
            os.rmdir(scratch_name, dir_fd=parent)
            refuse_to_delete(path, why)
        shutil.rmtree(moved)
    finally:
        os.close(scratch)
    os.rmdir(scratch_name, dir_fd=parent)
