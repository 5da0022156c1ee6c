"""Functions over the files of a target's user; each is run by `child.call_as` and finds its paths
below a root directory.

Nothing here follows a link out of that root, waits on a FIFO, or assumes that a name still refers
to the same file.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Mapping

from perfscope.agent.target_user.child import Reply
from perfscope.agent.target_user.rights import LIBC
from perfscope.agent.temporary_folders import remove_dead_in

OPENAT2 = 437  # the same number on every architecture
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LARGEST_SOURCE_BYTES = 1 << 20


class OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_below(root: int, path: str, flags: int) -> int:
    """Open `path` as a process whose root directory is `root` would. Raises OSError.

    Before Linux 5.6, or where a filter forbids openat2, a path with a link in it is refused: an
    absolute link would lead out of `root`.
    """
    how = OpenHow(flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path)
    opened = LIBC.syscall(OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how))
    if opened >= 0:
        return int(opened)
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EPERM):
        return open_without_links(root, path, flags)
    raise OSError(error, os.strerror(error), path)


def open_without_links(root: int, path: str, flags: int) -> int:
    """Open `path` below `root` one part at a time. Raises OSError for a link or `..` in it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(errno.EINVAL, "the path leads upwards", path)
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            inner = os.open(
                part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
            )
            os.close(folder)
            folder = inner
        return os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def open_regular_below(root: int, path: str) -> int:
    """Open a regular file for reading. Raises OSError for anything else."""
    file = open_below(root, path, READ)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return file


def read_file(root: int, path: str, most_bytes: int) -> Reply:
    """Return the first `most_bytes` of a regular file as text. Raises OSError."""
    file = open_regular_below(root, path)
    try:
        return Reply(os.read(file, most_bytes).decode("utf-8", "replace"))
    finally:
        os.close(file)


def filesystem_bytes(root: int, path: str) -> Reply:
    """Return the size in bytes of the file system that holds `path`. Raises OSError."""
    place = open_below(root, path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = os.fstatvfs(place)
        return Reply(found.f_frsize * found.f_blocks)
    finally:
        os.close(place)


def make_target_folder(root: int, place: str, name: str, files: Mapping[str, str]) -> Reply:
    """Make the folder `name` (mode 0700) with `files` in `place`; return the place and the open
    folder. Raises OSError.
    """
    parent = open_below(root, place, FOLDER)
    try:
        return Reply(place, [create_folder(parent, name, files)])
    finally:
        os.close(parent)


def create_folder(parent: int, name: str, files: Mapping[str, str]) -> int:
    """Make a folder below the open folder `parent`; return its descriptor. Raises OSError, leaving
    nothing.
    """
    os.mkdir(name, 0o700, dir_fd=parent)
    made = None
    try:
        made = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        for each, text in files.items():
            file = os.open(each, NEW_FILE, 0o600, dir_fd=made)
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)
    except OSError:
        if made is not None:
            remove_files(made, files)
            os.close(made)
        remove_empty_folder(parent, name)
        raise
    return made


def remove_files(folder: int, names: Iterable[str]) -> None:
    """Remove the named files of an open folder; those that are missing do not matter."""
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)


def remove_empty_folder(parent: int, name: str) -> None:
    """Remove a folder that is empty; leave it otherwise."""
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=parent)


def remove_folder(root: int, place: str, name: str, folder: int) -> Reply:
    """Remove every file of the open `folder`, then the folder `name` in `place`. Raises OSError."""
    remove_files(folder, os.listdir(folder))
    parent = open_below(root, place, FOLDER)
    try:
        remove_empty_folder(parent, name)
    finally:
        os.close(parent)
    return Reply()


def remove_dead_folders(root: int, place: str, prefix: str) -> None:
    """Remove from `place` what agents that were killed have left of this user's."""
    with contextlib.suppress(OSError):
        parent = open_below(root, place, FOLDER)
        try:
            remove_dead_in(parent, prefix)
        finally:
            os.close(parent)


def copy_first(folder: int, prefix: str, suffix: str, most_bytes: int) -> Reply:
    """Copy the first regular file of this user's in an open folder into a memory file.

    Returns its size in bytes and the memory file, or None and no descriptor while no such file
    exists. Only the copy is handed on: reading the file itself could block, or show something else
    later. Raises OSError.
    """
    for name in sorted(os.listdir(folder)):
        if not (name.startswith(prefix) and name.endswith(suffix)):
            continue
        file = os.open(name, READ | os.O_NOFOLLOW, dir_fd=folder)
        try:
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                return Reply(found.st_size, [copy_to_memory_file(file, most_bytes)])
        finally:
            os.close(file)
    return Reply()


def copy_to_memory_file(file: int, most_bytes: int) -> int:
    """Return a memory file with the first `most_bytes` of `file`. Raises OSError."""
    copy = os.memfd_create("perfscope-copy", os.MFD_CLOEXEC)
    left = most_bytes
    while left > 0 and (sent := os.sendfile(copy, file, None, min(left, 1 << 24))):
        left -= sent
    return copy


def rename_entry(folder: int, before: str, after: str) -> Reply:
    """Rename a file of an open folder; return False when it is not there. Raises OSError."""
    try:
        os.rename(before, after, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        return Reply(False)
    return Reply(True)


def has_entry(folder: int, name: str) -> Reply:
    """Return whether an open folder has an entry `name`. Raises OSError."""
    return Reply(name in os.listdir(folder))


def read_lines(root: int, wanted: Mapping[str, Iterable[int]], newest_s: float) -> Reply:
    """Return [path, line, text] of lines of regular files that were last changed by `newest_s`.

    Files that cannot be read are left out.
    """
    rows: list[list[str | int]] = []
    for path, numbers in wanted.items():
        with contextlib.suppress(OSError):
            lines = lines_of(root, path, newest_s)
            rows += [[path, at, lines[at - 1]] for at in numbers if 0 < at <= len(lines)]
    return Reply(rows)


def lines_of(root: int, path: str, newest_s: float) -> list[str]:
    """Return the lines of a regular file, none if it is large or has changed. Raises OSError."""
    file = open_regular_below(root, path)
    try:
        found = os.fstat(file)
        if found.st_size > LARGEST_SOURCE_BYTES or found.st_mtime > newest_s:
            return []
        return os.read(file, LARGEST_SOURCE_BYTES).decode("utf-8", "replace").split("\n")
    finally:
        os.close(file)
