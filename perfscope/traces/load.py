"""Opens whatever a reader recognises."""

from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun
from perfscope.traces.readers import READERS

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


def load(path: Path) -> "Trace":
    """The Trace at `path`. Raises UnreadableRun with one line that says what is wrong."""
    for reader in READERS:
        if reader.sniff(path):
            trace: Trace = reader.read(path)
            return trace
    from perfscope.traces.stored_run import read_manifest

    read_manifest(path)  # says which of the ways of not being a run this is
    raise UnreadableRun(f"{path}: no reader knows this format")
