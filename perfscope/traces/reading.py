"""One file or run folder: which reader takes it, and its Trace."""

import errno
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun
from perfscope.traces.readers import READERS
from perfscope.traces.reading_options import READABLE

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


def refuse_what_is_no_file(path: Path) -> None:
    """Raises UnreadableRun for links that lead in a circle, and for pipes and devices: a trace is
    read more than once.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableRun(
                f"{path} is a symbolic link that leads back to itself; name the trace itself"
            ) from None
        return  # told as what does not exist, or cannot be read
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnreadableRun(
            f"{path} is not a regular file; write the trace to a file and name that"
        )


def recognised(path: Path) -> bool:
    """Does a reader take it, by its looks?"""
    return any(reader.sniff(path) for reader in READERS)


def read_one(path: Path) -> "Trace":
    """Its Trace. Raises UnreadableRun with one line that says what is wrong."""
    for reader in READERS:
        if reader.sniff(path):
            trace: Trace = reader.read(path)
            return trace
    raise UnreadableRun(f"{path} {what_it_is(path)}")


def what_it_is(path: Path) -> str:
    """Why no reader takes it."""
    if not path.exists():
        return "does not exist"
    if path.is_dir():
        return f"is not a run folder: it has no manifest.json; {READABLE}"
    return f"{'is no trace' if path.stat().st_size else 'is empty'}; {READABLE}"
