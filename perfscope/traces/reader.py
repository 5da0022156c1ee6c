"""The type of the `READER` that each file in `readers/` defines."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace


class WrongFormat(UnreadableRun):
    """A file that a reader recognized by its name or first bytes, and that then turned out to be
    something else. `read_path` adds the formats that perfscope reads to its message.
    """


@dataclass(frozen=True)
class Reader:
    """A trace format that perfscope reads. Raises ValueError where the declaration is incomplete.

    To add a format, write `readers/NAME.py` with a `READER`, list it in `READERS` of
    `readers/__init__.py`, and test it in `tests/traces/`. The file is imported by every command, so
    it imports pandas, and the modules that build tables, only inside its `read` function.
    """

    name: str
    """The name of the file that defines the reader, without `.py`."""
    formats: str
    """What it reads, as error messages list it: `exports of Nsight Systems (.sqlite)`."""
    sniff: Callable[[Path], bool]
    """Returns whether a path looks like this format, judged by its name and its first bytes.

    It is called for every file of a folder: it must be fast, and must not raise for files of other
    formats. The first reader in `READERS` that returns true reads the file.
    """
    read: "Callable[[Path], Trace]"
    """Returns the Trace at a path, with the `kind` that the format has (see `TraceKind`).

    Raises UnreadableRun, with one line that says what is wrong and how to fix it, or WrongFormat.
    """

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"reader {self.name!r}: the name must be that of a Python module")
        if not self.formats:
            raise ValueError(f"reader {self.name}: `formats` must say which files it reads")
