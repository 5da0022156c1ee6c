"""Stores the rates that `doctor --calibrate` measures: a small file in the user's cache folder for
the CPU of each host, torch version and number of threads, and for each name of an accelerator. The
agent writes them, the analyzer reads them.
"""

import errno
import os
import re
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from perfscope.traces.cache.cache_folder import create_cache_folder, safe_cache_folder, user_cache
from perfscope.traces.regular_file import open_regular
from perfscope.traces.run_folder.manifest import Calibration, DeviceCalibration

Kind = TypeVar("Kind", Calibration, DeviceCalibration)

FOLDER = "calibrations"
LONGEST_NAME = 200
BUSY = 0.1
"""When other processes use more than this share of the cores, a calibration measures too little,
and its users are warned.
"""


def file_name(words: str) -> str:
    """Return the file name of a calibration."""
    return f"{re.sub(r'[^A-Za-z0-9.+-]', '_', words)[:LONGEST_NAME]}.json"


def calibration_file(host: str, torch: str, threads: int) -> str:
    """Return the file name of the calibration of a CPU."""
    return file_name(f"{host}-{torch}-{threads}")


def device_file(name: str) -> str:
    """Return the file name of the calibration of the accelerators of this name."""
    return file_name(f"device-{name}")


def store_calibration(calibration: Calibration | DeviceCalibration) -> Path:
    """Write a calibration atomically and return its path. Raises OSError, also for a cache folder
    that does not belong to the user.
    """
    folder = create_cache_folder(FOLDER)
    if folder is None:
        raise OSError(
            errno.EPERM, "the cache folder is not yours (set XDG_CACHE_HOME)", str(user_cache())
        )
    if isinstance(calibration, DeviceCalibration):
        path = folder / device_file(calibration.device)
    else:
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
    found = decode_calibration(calibration_file(host, torch, threads), Calibration)
    if found is None or (found.host, found.torch, found.threads) != (host, torch, threads):
        return None
    return found


def load_device_calibration(name: str, multiprocessors: int) -> DeviceCalibration | None:
    """Return the calibration of the accelerators of this name and number of compute units (-1
    unknown). None without one, and for a cache folder that does not belong to the user.
    """
    found = decode_calibration(device_file(name), DeviceCalibration)
    if found is None or found.device != name:
        return None
    known = {found.multiprocessors, multiprocessors} - {-1}
    return found if len(known) < 2 else None


def decode_calibration(name: str, kind: type[Kind]) -> Kind | None:
    """Return the calibration in a file of the cache folder, None without a valid one."""
    folder = safe_cache_folder(FOLDER)
    if folder is None:
        return None
    try:
        with open_regular(folder / name) as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def calibration_stamps() -> list[str]:
    """Return a text for each stored calibration, which changes when it does."""
    folder = safe_cache_folder(FOLDER)
    try:
        entries = list(os.scandir(folder)) if folder is not None else []
        return sorted(f"{entry.name} {entry.stat().st_mtime_ns}" for entry in entries)
    except OSError:
        return []
