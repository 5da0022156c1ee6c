"""The type that every writer of a trace format declares: one `WRITER` in its file in `writers/`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Writer:
    """A format that `perfscope export` writes. Raises ValueError where the declaration is
    incomplete.

    To add a format, write `writers/NAME.py` with a `WRITER`, list it in `WRITERS` of
    `writers/__init__.py`, and test it in `tests/traces/writers/`.
    """

    name: str
    """The value of `--to`, and the name of the file that declares the writer."""
    suffix: str
    """The ending of the file that it writes, with the dot; empty for a writer of folders."""
    write: Callable[[Trace, Path], None]
    """Writes a trace to a path that does not exist yet. Raises OSError."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"writer {self.name!r}: the name must be that of a Python module")
        if self.suffix and not self.suffix.startswith("."):
            raise ValueError(
                f"writer {self.name}: the suffix {self.suffix!r} must begin with a dot"
            )

    @property
    def writes_folder(self) -> bool:
        """Whether it writes a folder instead of one file."""
        return not self.suffix

    def file_name(self, stem: str) -> str:
        """Return the name of the export of a trace called `stem`."""
        return f"{stem}.{self.name}" if self.writes_folder else f"{stem}{self.suffix}"
