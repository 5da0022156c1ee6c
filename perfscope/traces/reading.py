"""One file or run folder: which reader takes it, and its Trace."""

from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun
from perfscope.traces.readers import READERS

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
    from perfscope.traces.stored_run import read_manifest

    read_manifest(path)  # says which of the ways of not being a run this is
    raise UnreadableRun(f"{path}: no reader knows this format")
