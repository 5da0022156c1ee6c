"""Exports of Nsight Systems (`nsys export --type sqlite`): all processes and devices of one
host.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

REPORTS = (".nsys-rep", ".qdrep", ".qdstrm")
EXPORTS = (".sqlite", ".sqlite3", ".db")
MAGIC = b"SQLite format 3\x00"


def sniff(path: Path) -> bool:
    """Is this an SQLite file, or a report that can be made one?"""
    if not path.is_file():
        return False
    if path.name.endswith((*REPORTS, *EXPORTS)):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path) -> "Trace":
    """The Trace of one export: every process in it that used a device is a rank. Raises
    UnreadableRun.
    """
    from perfscope.traces.nsys.tables import read_export

    return read_export(path)
