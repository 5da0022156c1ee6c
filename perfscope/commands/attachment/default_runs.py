"""The run folders that `attach` leaves in the working directory, where no `--out` names another."""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from perfscope.errors import PerfscopeError, UnreadableRun

NAME = re.compile(r"perfscope-\d+-\d{6}\.perfscope")
GROWING_S = 60.0
"""A run that is not marked as finished and has changed within this time is still being recorded."""


@dataclass(frozen=True)
class DefaultRun:
    """A run folder of ours that may be removed."""

    name: str
    begun_ns: int


def default_run_folder(pid: int) -> Path:
    """Return `perfscope-PID-HHMMSS.perfscope` in the working directory."""
    return Path(f"perfscope-{pid}-{time.strftime('%H%M%S')}.perfscope")


def remove_older_runs(folder: Path, keep: int) -> list[str]:
    """Remove the oldest of the runs that `attach` left in the folder, so that `keep` are left;
    return their names.

    A folder is removed only when `attach` could have named it, when it holds a run and nothing
    else, belongs to this user with everything in it, and is not being recorded. Links are never
    followed. What cannot be removed stays.
    """
    from perfscope.traces.run_folder.removal import remove_run

    removed = []
    oldest_first = sorted(default_runs(folder), key=lambda run: (run.begun_ns, run.name))
    for run in oldest_first[: max(len(oldest_first) - keep, 0)]:
        with contextlib.suppress(PerfscopeError):
            remove_run(folder.resolve() / run.name)
            removed.append(run.name)
    return removed


def default_runs(folder: Path) -> list[DefaultRun]:
    """Return the finished runs in the folder that `attach` named and this user owns."""
    from perfscope.traces.run_folder.stored import read_manifest

    found = []
    for path in folder.iterdir():
        if NAME.fullmatch(path.name) is None or path.is_symlink():
            continue
        try:
            owned = path.stat().st_uid == os.geteuid()
            manifest = read_manifest(path)
            is_over = manifest.finished or not is_growing(path)
        except (OSError, UnreadableRun):
            continue
        if owned and is_over:
            found.append(DefaultRun(path.name, manifest.zero_realtime_ns))
    return found


def is_growing(path: Path) -> bool:
    """Return whether a file of the run folder has changed a moment ago."""
    changed_s = max((entry.lstat().st_mtime for entry in path.rglob("*")), default=0.0)
    return time.time() - changed_s < GROWING_S
