"""Exports of Nsight Systems (`nsys export --type sqlite`): all processes and devices of one
host.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.traces.nsys.file_types import EXPORT_SUFFIXES, REPORT_SUFFIXES, SQLITE_MAGIC
from perfscope.traces.reader import Reader

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


def is_nsys_file(path: Path) -> bool:
    """Return whether a path is an SQLite file, or a report of Nsight Systems.

    A report cannot be read; `read_nsys_file` says how to export it.
    """
    if not path.is_file():
        return False
    if path.name.endswith((*REPORT_SUFFIXES, *EXPORT_SUFFIXES)):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False


def read_nsys_file(path: Path) -> "Trace":
    """Return the Trace of one export, in which every process that used a device is a rank.

    Raises UnreadableRun.
    """
    from perfscope.traces.nsys.tables import read_export

    return read_export(path)


READER = Reader(
    name="nsys",
    formats="exports of Nsight Systems (.sqlite)",
    sniff=is_nsys_file,
    read=read_nsys_file,
)
