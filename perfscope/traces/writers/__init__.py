"""The formats that perfscope exports to, one file each. `Writer` in `traces/writer.py` says what a
file declares.
"""

from typing import Final

from perfscope.traces.writer import Writer
from perfscope.traces.writers import csv, parquet, perfetto, speedscope

WRITERS: Final[tuple[Writer, ...]] = (
    perfetto.WRITER,
    speedscope.WRITER,
    parquet.WRITER,
    csv.WRITER,
)
