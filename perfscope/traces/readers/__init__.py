"""The formats that perfscope reads, one file each. `Reader` in `traces/reader.py` says what a file
declares.
"""

from typing import Final

from perfscope.traces.reader import Reader
from perfscope.traces.readers import kineto, nsys, run

READERS: Final[tuple[Reader, ...]] = (run.READER, nsys.READER, kineto.READER)
"""In the order in which they are asked: the first reader whose `sniff` returns true is used."""


def readable_formats() -> str:
    """Return a sentence that lists the formats, for error messages."""
    *others, last = [reader.formats for reader in reversed(READERS)]
    return f"perfscope reads {', '.join(others)} and {last}"
