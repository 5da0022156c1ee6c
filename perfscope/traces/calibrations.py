"""What a CPU can do, as `doctor --calibrate` measured it: a small file in the user's cache folder
for each host, torch and number of threads. Written by the agent, read by the analyzer.
"""

import errno
import os
import re
import tempfile
from pathlib import Path

import msgspec

from perfscope.traces.cache.place import create_cache_folder, safe_cache_folder, user_cache
from perfscope.traces.regular_file import open_regular
from perfscope.traces.run.manifest import Calibration

FOLDER = "calibrations"
LONGEST_NAME = 200
# From this share of the cores on others take away what is to be measured, and whoever uses the
# figures is told.
BUSY = 0.1


def file_name(host: str, torch: str, threads: int) -> str:
    """Return the name of the file of one calibration."""
    safe = re.sub(r"[^A-Za-z0-9.+-]", "_", f"{host}-{torch}-{threads}")
    return f"{safe[:LONGEST_NAME]}.json"


def keep(made: Calibration) -> Path:
    """Write it, whole or not at all. Raises OSError, also where the cache folder is not the user's
    own.
    """
    folder = create_cache_folder(FOLDER)
    if folder is None:
        raise OSError(
            errno.EPERM, "not a cache folder of your own (set XDG_CACHE_HOME)", str(user_cache())
        )
    path = folder / file_name(made.host, made.torch, made.threads)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(made))
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def recall(host: str, torch: str, threads: int) -> Calibration | None:
    """Return the one that was made for these; None without one, or where the cache folder is not
    the user's own.
    """
    folder = safe_cache_folder(FOLDER)
    if folder is None:
        return None
    try:
        with open_regular(folder / file_name(host, torch, threads)) as file:
            found = msgspec.json.decode(file.read(), type=Calibration)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    return found if (found.host, found.torch, found.threads) == (host, torch, threads) else None
