"""Run folders, which perfscope itself records."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.traces.reader import Reader
from perfscope.traces.run_folder.folder import MANIFEST

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


def is_run_folder(path: Path) -> bool:
    """Return whether a path is a folder with a manifest, readable or not."""
    return path.is_dir() and os.path.lexists(path / MANIFEST)


def read_run_folder(path: Path) -> "Trace":
    """Return the Trace of a run folder, finished or still being written. Raises UnreadableRun."""
    from perfscope.traces.run_folder.tables import read_run

    return read_run(path)


READER = Reader(
    name="run", formats="its own run folders", sniff=is_run_folder, read=read_run_folder
)
