"""Writes a file that the user named: completely or not at all.

Root never writes through a link that another user made.
"""

import os
import secrets
import stat
from pathlib import Path

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def write_output(path: Path, text: str) -> None:
    """Write `text` to `path`, which may be a pipe or a device. Raises OSError.

    A new file replaces what was there, links included. Links are followed where only root or this
    user could have made them, such as `/dev/stdout`.
    """
    stream = opened_stream(path)
    if stream is not None:
        with open(stream, "w", encoding="utf-8") as file:
            file.write(text)
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def opened_stream(path: Path) -> int | None:
    """Return a descriptor of the pipe or device at `path`, None where there is none."""
    if not path.exists() or path.is_file():
        return None
    follow = 0 if is_ours_alone(path.parent) else os.O_NOFOLLOW
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC | follow)
    if stat.S_ISREG(os.fstat(number).st_mode):  # it was replaced in the meantime
        os.close(number)
        return None
    return number


def is_ours_alone(folder: Path) -> bool:
    """Return whether only root or this user can create files in a folder."""
    about = folder.stat()
    return about.st_uid in (0, os.geteuid()) and not about.st_mode & WRITABLE_BY_OTHERS
