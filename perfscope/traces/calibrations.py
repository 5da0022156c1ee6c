"""What a CPU can do, as `doctor --calibrate` measured it: a small file in the user's cache folder for each host, torch and
number of threads. Written by the agent, read by the analyzer.
"""

import os
import re
import tempfile
from pathlib import Path

import msgspec

from perfscope.traces.cache.place import user_cache
from perfscope.traces.run.manifest import Calibration

FOLDER = "calibrations"
# From this share of the cores on others take away what is to be measured, and whoever uses the figures is told.
BUSY = 0.1


def folder() -> Path:
    """Where they are kept."""
    return user_cache() / FOLDER


def path_of(host: str, torch: str, threads: int) -> Path:
    """The file of one."""
    safe = re.sub(r"[^A-Za-z0-9.+-]", "_", f"{host}-{torch}-{threads}")
    return folder() / f"{safe}.json"


def keep(made: Calibration) -> Path:
    """Write it, whole or not at all. Raises OSError."""
    path = path_of(made.host, made.torch, made.threads)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(made))
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def recall(host: str, torch: str, threads: int) -> Calibration | None:
    """The one that was made for these, None when there is none or it cannot be read."""
    try:
        found = msgspec.json.decode(path_of(host, torch, threads).read_bytes(), type=Calibration)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if (found.host, found.torch, found.threads) == (host, torch, threads) else None
