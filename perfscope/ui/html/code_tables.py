"""The program's lines and functions by time, as tables."""

from collections.abc import Sequence

import pandas as pd

from perfscope.analyzer.diagnosis import CodeCost
from perfscope.analyzer.number_text import ms
from perfscope.analyzer.summary.hot_lines import hot_functions, hot_lines
from perfscope.ui.budget_phrases import NS_PER_S, phase_label
from perfscope.ui.html.tables import Table, TableColumn, share

NOTE = (
    "Code of the program itself, of the main thread; time in libraries belongs to the line that"
    " called them, or to the outermost frame where no code of the program was on the stack. From"
    " stack samples: the whole recording, by phase."
)


def seconds(value: float) -> str:
    """Return seconds as a time."""
    return ms(value * NS_PER_S) if value > 0 else "0"


TIMES = (
    TableColumn("self_s", "self", "time of the line and of the libraries that it called", seconds),
    TableColumn("total_s", "total", "time with the program's functions that it called", seconds),
    TableColumn("share", "share", "total, of the recorded time", share),
)
LINE_COLUMNS = (
    TableColumn("code", "line", "file, line and source"),
    TableColumn("function", "function", "function that the line is in"),
    TableColumn("phase", "phase", "phase of the run in which it ran"),
    *TIMES,
)
FUNCTION_COLUMNS = (
    TableColumn("function", "function", "name of the function"),
    TableColumn("place", "hottest line", "line with the most time of its own"),
    TableColumn("phase", "phase", "phase of the run in which it ran"),
    *TIMES,
)


def lines_table(costs: Sequence[CodeCost]) -> list[Table]:
    """Return the table of the program's lines."""
    rows = hot_lines(costs)
    code = rows["place"] + "  " + rows["text"]
    return code_table("lines", "Hot lines", LINE_COLUMNS, rows.assign(code=code.str.strip()))


def functions_table(costs: Sequence[CodeCost]) -> list[Table]:
    """Return the table of the program's functions, summed over their callers."""
    rows = hot_functions(costs)
    return code_table("functions", "Functions", FUNCTION_COLUMNS, rows)


def code_table(
    table_id: str, title: str, columns: tuple[TableColumn, ...], rows: pd.DataFrame
) -> list[Table]:
    """Return a table of code; nothing where no sample showed code of the program."""
    if not len(rows):
        return []
    return [
        Table(table_id, title, NOTE, columns, rows.assign(phase=rows["phase"].map(phase_label)))
    ]
