"""Temporary folders named after the process that created them, and removal of those whose creator
was killed.

The name contains the pid, start time, pid namespace and boot of the creator, so that another
process can decide whether the creator still runs. Standard library only.
"""

import os
import re
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.agent.host import proc

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LEVELS = 4
"""Levels of folders that are removed; those of perfscope have two."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NAME = (
    r"(?P<pid>[1-9]\d{0,9})-(?P<start>\d{1,20})-(?P<scope>[0-9a-f]{8}-[0-9a-f]{1,20})-[0-9a-f]{16}"
)


def folder_name(prefix: str) -> str:
    """Return a new name for a folder of this process, which begins with `prefix`."""
    creator = proc.stat(os.getpid())
    start = creator.start_ticks if creator is not None else 0
    return f"{prefix}{os.getpid()}-{start}-{pid_scope()}-{os.urandom(8).hex()}"


@contextmanager
def temporary_folder(place: Path, prefix: str) -> "Iterator[Path]":
    """Make a folder of mode 0700 in `place` and remove it at the end. Raises OSError where it
    cannot be made.
    """
    path = place / folder_name(prefix)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        with suppress(OSError), open_folder(place) as parent:
            remove_owned_folder(parent, path.name)


def remove_dead(place: Path | str, prefix: str) -> list[str]:
    """Remove the folders in `place` whose creator was killed; return their names.

    A folder is removed only if it is owned by the effective uid, has a name that
    `folder_name(prefix)` makes, and its creator has ended and was in our pid namespace. Links are
    never followed, `place` included. Never raises: what cannot be removed remains.
    """
    with suppress(OSError), open_folder(place) as parent:
        return remove_dead_in(parent, prefix)
    return []


def remove_dead_in(parent: int, prefix: str) -> list[str]:
    """Remove such folders from the folder of descriptor `parent`; return their names.

    Raises OSError where it cannot be listed.
    """
    removed: list[str] = []
    expected = re.compile(re.escape(prefix) + NAME)
    scope = pid_scope()
    for name in sorted(os.listdir(parent)):
        found = expected.fullmatch(name)
        if found is None or found["scope"] != scope:
            continue
        if is_running(int(found["pid"]), int(found["start"])):
            continue
        with suppress(OSError):
            remove_owned_folder(parent, name)
            removed.append(name)
    return removed


def pid_scope() -> str:
    """Return the scope in which pids are unique: part of the boot id, and the pid namespace.

    The boot id matters where hosts share a temporary folder: the first pid namespace has the same
    number on every host.
    """
    boot = (proc.read("/proc/sys/kernel/random/boot_id") or "0" * 8)[:8]
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{boot}-{namespace:x}"


def is_running(pid: int, start_ticks: int) -> bool:
    """Return whether a process still runs; True where that is unknown."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # It belongs to another user: its start time decides.
    process = proc.stat(pid)
    return process is None or process.start_ticks == start_ticks


@contextmanager
def open_folder(name: Path | str, parent: int | None = None) -> "Iterator[int]":
    """Open a folder that is not a link, in the folder of descriptor `parent`. Raises OSError."""
    descriptor = os.open(name, FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_owned_folder(parent: int, name: str) -> None:
    """Remove the folder `name` in the folder of descriptor `parent`.

    Raises OSError where it is a link, belongs to another user, is on another file system, or has
    more than `MOST_LEVELS` levels.
    """
    with open_folder(name, parent) as folder:
        check_owned(folder, parent)
        empty_folder(folder, MOST_LEVELS)
    os.rmdir(name, dir_fd=parent)


def check_owned(folder: int, parent: int) -> None:
    """Raise OSError unless the folder belongs to this user and is not a mount point."""
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_dev != os.fstat(parent).st_dev:
        raise PermissionError("the folder belongs to another user, or is a mount point")


def empty_folder(folder: int, levels: int) -> None:
    """Remove everything in the folder of descriptor `folder`. Raises OSError."""
    for name in os.listdir(folder):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            os.unlink(name, dir_fd=folder)
            continue
        if levels == 0:
            raise OSError("nested too deep")
        with open_folder(name, folder) as inner:
            check_owned(inner, folder)
            empty_folder(inner, levels - 1)
        os.rmdir(name, dir_fd=folder)
