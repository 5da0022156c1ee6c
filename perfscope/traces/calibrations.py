"""Stores the rates of a CPU that `doctor --calibrate` measures: a small file in the user's cache
folder per host, torch version and number of threads. The agent writes it, the analyzer reads it.
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
BUSY = 0.1
"""When other processes use more than this share of the cores, a calibration measures too little,
and its users are warned.
"""


def calibration_file(host: str, torch: str, threads: int) -> str:
    """Return the file name of a calibration."""
    safe = re.sub(r"[^A-Za-z0-9.+-]", "_", f"{host}-{torch}-{threads}")
    return f"{safe[:LONGEST_NAME]}.json"


def store_calibration(calibration: Calibration) -> Path:
    """Write a calibration atomically and return its path. Raises OSError, also for a cache folder
    that does not belong to the user.
    """
    folder = create_cache_folder(FOLDER)
    if folder is None:
        raise OSError(
            errno.EPERM, "the cache folder is not yours (set XDG_CACHE_HOME)", str(user_cache())
        )
    path = folder / calibration_file(calibration.host, calibration.torch, calibration.threads)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(calibration))
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def load_calibration(host: str, torch: str, threads: int) -> Calibration | None:
    """Return the calibration of a host, torch version and number of threads. None without one, and
    for a cache folder that does not belong to the user.
    """
    folder = safe_cache_folder(FOLDER)
    if folder is None:
        return None
    try:
        with open_regular(folder / calibration_file(host, torch, threads)) as file:
            calibration = msgspec.json.decode(file.read(), type=Calibration)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    is_wanted = (calibration.host, calibration.torch, calibration.threads) == (host, torch, threads)
    return calibration if is_wanted else None
