"""A folder of CSV files, one per table. Its README.md has the unit and the meaning of each
column. A quote precedes a name that a spreadsheet would run as a formula.
"""

import io
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from perfscope.traces.spreadsheet_text import spreadsheet_text
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
        rows = without_formulas(frame.iloc[begin : begin + ROWS_AT_ONCE])
        rows.to_csv(text, index=False, header=begin == 0, lineterminator="\n")
    text.flush()
    text.detach()


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which a spreadsheet takes no name for a formula.

    The program that was recorded has chosen the names.
    """
    changed = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            texts = column.cat.categories
            safe = {text: spreadsheet_text(str(text)) for text in texts}
            if any(text != changed_text for text, changed_text in safe.items()):
                changed[str(name)] = column.astype(object).map(safe, na_action="ignore")
    return frame.assign(**changed)


WRITER = Writer(name="csv", suffix="", write=write_csv_folder)
