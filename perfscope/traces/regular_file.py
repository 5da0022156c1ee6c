"""Opens files that somebody else may have put there: only regular files, and without waiting for
them.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file itself, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return False


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for links, pipes, devices and folders.

    A pipe without a writer, which a plain open would wait for, is refused at once. With
    `follow_links` a link at `path` is followed: for files that the user names.
    """
    before = os.stat(path, follow_symlinks=follow_links)
    if not stat.S_ISREG(before.st_mode):  # a device is not even opened: that may act on it
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    flags = (
        os.O_RDONLY
        | os.O_CLOEXEC
        | os.O_NONBLOCK
        | os.O_NOCTTY
        | (0 if follow_links else os.O_NOFOLLOW)
    )
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")
