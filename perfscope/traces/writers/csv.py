"""A folder of CSV files, one per table. Its README.md has the unit and the meaning of each
column.
"""

import io
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from perfscope.traces.trace import Trace
from perfscope.traces.writer import Writer
from perfscope.traces.written_tables import write_tables

ROWS_AT_ONCE = 1 << 17


def write_csv_folder(trace: Trace, path: Path) -> None:
    """Write the folder, in UTF-8."""
    write_tables(trace, path, ".csv", write_csv)


def write_csv(name: str, frame: pd.DataFrame, file: BinaryIO) -> None:
    """Write one table; a missing value is an empty field."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    for begin in range(0, max(len(frame), 1), ROWS_AT_ONCE):
        rows = frame.iloc[begin : begin + ROWS_AT_ONCE]
        rows.to_csv(text, index=False, header=begin == 0, lineterminator="\n")
    text.flush()
    text.detach()


WRITER = Writer(name="csv", suffix="", write=write_csv_folder)
