"""Our own run folder."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.traces.run.folder import MANIFEST

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


def sniff(path: Path) -> bool:
    """Return whether this looks like a run folder."""
    return path.is_dir() and os.path.lexists(path / MANIFEST)


def read(path: Path) -> "Trace":
    """The Trace of a run folder, finished or growing. Raises UnreadableRun."""
    from perfscope.traces.run.tables import read_run

    return read_run(path)
