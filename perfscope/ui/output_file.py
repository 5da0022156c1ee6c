"""Writes a file that the user named: completely or not at all.

Root never writes through a link that another user made.
"""

import errno
import os
import secrets
import stat
from pathlib import Path

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def write_output(path: Path, text: str) -> None:
    """Write `text` to `path`, which may be a pipe or a device. Raises OSError.

    A new file replaces what was there, links included. Links are followed where only root or this
    user could have made them, such as `/dev/stdout`. Bytes of a file's name that are not UTF-8, as
    Python has them in text, become question marks.
    """
    stream = opened_stream(path)
    if stream is not None:
        with open(stream, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "x", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def opened_stream(path: Path) -> int | None:
    """Return a descriptor of the pipe or device at `path`, None where there is none."""
    if not path.exists() or path.is_file():
        return None
    if is_ours_alone(path.parent):
        number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    else:
        number = opened_in_shared_folder(path)
    if stat.S_ISREG(os.fstat(number).st_mode):  # it was replaced in the meantime
        os.close(number)
        return None
    return number


def opened_in_shared_folder(path: Path) -> int:
    """Return a descriptor of what is at `path`, which anybody could have made. Raises OSError for a
    link, and for what belongs to another user: a pipe would hand the text to that user, or wait.
    """
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        about = os.fstat(held)
        if stat.S_ISLNK(about.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if about.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, "it belongs to another user", path)
        return os.open(f"/proc/self/fd/{held}", os.O_WRONLY | os.O_CLOEXEC)
    finally:
        os.close(held)


def is_ours_alone(folder: Path) -> bool:
    """Return whether only root or this user can create files in a folder."""
    about = folder.stat()
    return about.st_uid in (0, os.geteuid()) and not about.st_mode & WRITABLE_BY_OTHERS
