"""Reads one file or run folder with the reader that recognizes it."""

import errno
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perfscope.errors import UnreadableRun
from perfscope.traces.reader import WrongFormat
from perfscope.traces.readers import READERS, readable_formats

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

MOST_PARTS: Final = 4096
"""Ranks or devices of one recording, or processes of a profiler's trace. The diagnosis takes about
1 ms and 25 KB for each, even if it has one event.
"""
MOST_PROCESSES: Final = 40_960
"""Processes of a run folder, where each epoch may start new loader workers. Each takes 0.3 ms."""


def require_file_or_folder(path: Path) -> None:
    """Raise UnreadableRun for links that form a loop, and for pipes and devices.

    A trace is read more than once, which a pipe does not allow. A path that does not exist is left
    to the reader.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableRun(
                f"{path} is a symbolic link that points back to itself. Give the path of the trace."
            ) from None
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnreadableRun(
            f"{path} is not a regular file. Write the trace to a file and give its path."
        )


def is_recognized(path: Path) -> bool:
    """Return whether some reader recognizes the path."""
    return any(reader.sniff(path) for reader in READERS)


def read_path(path: Path) -> "Trace":
    """Return the Trace of one file or run folder. Raises UnreadableRun."""
    for reader in READERS:
        if reader.sniff(path):
            try:
                trace = reader.read(path)
            except WrongFormat as error:
                raise UnreadableRun(f"{error}; {readable_formats()}") from error
            refuse_too_many(trace, path)
            return trace
    raise UnreadableRun(f"{path} {why_not_recognized(path)}")


def refuse_too_many(trace: "Trace", path: Path) -> None:
    """Raise UnreadableRun for more processes, ranks or devices than are read."""
    processes = trace.table("processes")
    count = 0 if processes is None else len(processes)
    ranks = 0 if processes is None else int((processes["role"] == "main").sum())
    most = MOST_PARTS if trace.is_profiler_trace else MOST_PROCESSES
    refuse_more(count, most, "processes", path)
    refuse_more(ranks, MOST_PARTS, "ranks", path)
    refuse_more(len(trace.manifest.devices), MOST_PARTS, "devices", path)


def refuse_more(count: int, most: int, name: str, path: Path) -> None:
    """Raise UnreadableRun for a count above the most that is read."""
    if count > most:
        raise UnreadableRun(
            f"{path} has {count:,} {name}; at most {most:,} of one recording are read. Record fewer"
            " of them, or one trace per rank."
        )


def why_not_recognized(path: Path) -> str:
    """Return why no reader recognizes the path, as the end of a sentence that begins with it."""
    if not path.exists():
        return "does not exist"
    if path.is_dir():
        what = "is not a run folder: it has no manifest.json"
    elif path.stat().st_size == 0:
        what = "is empty"
    else:
        what = "is not a trace"
    return f"{what}; {readable_formats()}"
