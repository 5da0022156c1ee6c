"""A folder of CSV files, one a table; units and comments stand in its README.md."""

import io
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from perfscope.traces.trace import Trace
from perfscope.traces.written_tables import write_tables

NAME, SUFFIX = "csv", ""
ROWS_AT_ONCE = 1 << 17


def write(trace: Trace, path: Path) -> None:
    """Writes the folder, in UTF-8."""
    write_tables(trace, path, ".csv", write_table)


def write_table(name: str, frame: pd.DataFrame, file: BinaryIO) -> None:
    """Numbers as they are, names in quotes where needed, a missing one as nothing."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    for begin in range(0, max(len(frame), 1), ROWS_AT_ONCE):
        frame.iloc[begin : begin + ROWS_AT_ONCE].to_csv(
            text, index=False, header=begin == 0, lineterminator="\n"
        )
    text.flush()
    text.detach()
