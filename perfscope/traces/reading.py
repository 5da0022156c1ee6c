"""One file or run folder: which reader takes it, and its Trace."""

from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun
from perfscope.traces.readers import READERS
from perfscope.traces.reading_options import READABLE

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


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
