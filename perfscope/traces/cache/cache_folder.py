"""The user's cache folder: its path, and whether it is safe to use.

The folder of a trace may belong to another user, so nothing is written there or deleted from it.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from perfscope.traces.regular_file import open_regular
from perfscope.traces.schema import SCHEMA_VERSION

READER_VERSION: Final = 8
"""Increased whenever the same file gives other tables than before."""
HEAD_BYTES: Final = 1 << 16
TABLES: Final = "traces"
ANSWERS: Final = "answers"
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
READABLE_BY_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def table_folder(path: Path) -> Path | None:
    """Return the folder for the tables of a trace, None without a safe cache. Raises OSError."""
    root = safe_cache_folder(TABLES)
    return root / cache_key(path) if root is not None else None


def answer_file(path: Path) -> Path | None:
    """Return the file for the diagnosis of a trace, None without a safe cache. Raises OSError."""
    root = safe_cache_folder(ANSWERS)
    return root / f"{cache_key(path)}.json" if root is not None else None


def safe_cache_folder(name: str) -> Path | None:
    """Return a folder of the cache, which may not exist yet; None where it is not safe to use.

    It is unsafe when another user could create files in it or replace it: when it is a link, when
    it belongs to another user (sudo may keep HOME), or when others can write to one of its parents.
    An unsafe cache is neither read nor written.
    """
    cache = user_cache()
    if cache is None or not is_safe_parent(cache.parent):
        return None
    return cache / name if is_private(cache) and is_private(cache / name) else None


def create_cache_folder(name: str) -> Path | None:
    """Create a folder of the cache with mode 0700 and return it, None where it is not safe to use.

    Raises OSError.
    """
    folder = safe_cache_folder(name)
    if folder is None:
        return None
    for each in (*reversed(folder.parents), folder):
        if not os.path.lexists(each):
            each.mkdir(mode=0o700, exist_ok=True)
    if safe_cache_folder(name) is None:  # another user has just created one of them
        return None
    for each in (folder.parent, folder):
        if each.lstat().st_mode & READABLE_BY_OTHERS:
            each.chmod(0o700)
    return folder


def user_cache() -> Path | None:
    """Return perfscope's cache folder of the user, with the links of its parents resolved; None
    without a home.
    """
    home = os.environ.get("XDG_CACHE_HOME") or ""
    try:
        parent = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
        return Path(os.path.realpath(parent)) / "perfscope"
    except (RuntimeError, OSError, ValueError):  # no home; a loop of links; a NUL in the path
        return None


def is_safe_parent(folder: Path) -> bool:
    """Return whether only root and the user can create files in `folder`, create the folder itself,
    and replace its parents.

    A shared folder with the sticky bit, such as /tmp, is a safe parent of an existing folder of the
    user.
    """
    missing = False
    for each in (folder, *folder.parents):
        try:
            info = each.lstat()
        except FileNotFoundError:
            missing = True
            continue
        except OSError:
            return False
        if not stat.S_ISDIR(info.st_mode) or info.st_uid not in (0, os.geteuid()):
            return False
        if info.st_mode & WRITABLE_BY_OTHERS and (
            missing or each == folder or not info.st_mode & stat.S_ISVTX
        ):
            return False
        missing = False
    return True


def is_private(folder: Path) -> bool:
    """Return whether a folder is missing, or belongs to the user and only they can write to it."""
    try:
        info = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return (
        stat.S_ISDIR(info.st_mode)
        and info.st_uid == os.geteuid()
        and not info.st_mode & WRITABLE_BY_OTHERS
    )


def key_before_reading(path: Path) -> str | None:
    """Return the `cache_key` of a file that will be read, None for one that cannot be.

    What is read is cached only if the key is the same afterwards: a file may be written meanwhile.
    """
    try:
        return cache_key(path)
    except OSError:
        return None


def cache_key(path: Path) -> str:
    """Return 32 hex digits that identify the contents of a file, the version of its reader and the
    schema. Raises OSError.
    """
    with open_regular(path, follow_links=True) as file:
        status = os.fstat(file.fileno())
        start = file.read(HEAD_BYTES)
    versions = f"{READER_VERSION} {SCHEMA_VERSION}"
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    facts = f"{versions} {path.resolve()} {status.st_size} {times} "
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape") + start).hexdigest()[:32]
