"""Loads one recording, or all the parts of a job."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.traces.reading import is_recognized, read_path, require_file_or_folder

if TYPE_CHECKING:
    from perfscope.traces.jobs.job import OpenExecutor
    from perfscope.traces.trace import Trace


def load_trace(path: Path) -> "Trace":
    """Return the Trace at a path: a file, a run folder, or a folder with those of several ranks.

    Raises UnreadableRun or UsageError, with one line that says what is wrong.
    """
    return load_all([path])


def load_all(paths: Sequence[Path], open_executor: "OpenExecutor | None" = None) -> "Trace":
    """Return one Trace of everything at these paths.

    `open_executor` opens the Executor that reads several files (`load_job`). Raises UnreadableRun
    or UsageError.
    """
    for path in paths:
        require_file_or_folder(path)
    if len(paths) == 1 and open_executor is None and is_recognized(paths[0]):
        return read_path(paths[0])
    from perfscope.traces.jobs.job import load_job

    return load_job(paths, open_executor)


def load_parts(paths: Sequence[Path], folder: Path) -> "Trace":
    """Return one Trace of the traces of a job that were found in a folder.

    Those that cannot be read are left out. Raises UnreadableRun when none can, or UsageError.
    """
    from perfscope.traces.jobs.job import load_members
    from perfscope.traces.jobs.members import JobMember

    return load_members([JobMember(path, named=False) for path in paths], folder)
