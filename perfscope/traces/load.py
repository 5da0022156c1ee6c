"""Opens whatever a reader recognises: one recording, or all the parts of a job."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.traces.reading import read_one, recognised, refuse_what_is_no_file

if TYPE_CHECKING:
    from perfscope.traces.jobs.job import Processes
    from perfscope.traces.trace import Trace


def load(path: Path) -> "Trace":
    """The Trace at `path`: a file, a run folder, or a folder with those of several ranks.

    Raises UnreadableRun, UsageError with one line that says what is wrong.
    """
    return load_all([path])


def load_all(paths: Sequence[Path], processes: "Processes | None" = None) -> "Trace":
    """One Trace of all that is at these paths; `processes` as for `load_job`. Raises UnreadableRun,
    UsageError.
    """
    for path in paths:
        refuse_what_is_no_file(path)
    if len(paths) == 1 and processes is None and recognised(paths[0]):
        return read_one(paths[0])
    from perfscope.traces.jobs.job import load_job

    return load_job(paths, processes)
