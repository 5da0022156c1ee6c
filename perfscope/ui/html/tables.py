"""Tables of the pages and the report: sortable by each column, saved as CSV."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from perfscope.analyzer.number_text import megabytes, ms, percent
from perfscope.ui.html.markup import escape, timeline_link

MOST_ROWS = 120
LONGEST_NAME = 400


@dataclass(frozen=True)
class TableColumn:
    """A column: its name in the frame, its head and tooltip, and the format of its values.

    Values without a format are shown as code. `full` is the column with the whole text of a
    shortened one: it is the tooltip of the cell, and what is saved.
    """

    name: str
    head: str
    meaning: str
    format_value: Callable[[Any], str] | None = None
    full: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows in their order, and the columns that hold the interval on the timeline, if any."""

    id: str
    title: str
    note: str
    columns: tuple[TableColumn, ...]
    rows: pd.DataFrame
    place: tuple[str, str] | None = None
    """The columns of the begin and the duration, in ns."""
    wraps: bool = False
    """Whether a cell may have several lines."""


def count_text(value: float) -> str:
    """Return a whole number with commas between groups of three digits."""
    return f"{int(value):,}"


def time(value: float) -> str:
    """Return nanoseconds as a time."""
    return ms(value) if value > 0 else "0"


def known_time(value: float) -> str:
    """Return nanoseconds as a time; a negative value is not known."""
    return "not known" if value < 0 else time(value)


def known_bytes(value: float) -> str:
    """Return bytes; a negative value is not known."""
    return "not known" if value < 0 else megabytes(value)


def share(value: float) -> str:
    """Return a share of one as percent."""
    return percent(float(value))


def rows_of_rank_or_first(rows: pd.DataFrame, rank: int) -> pd.DataFrame:
    """Return the rows of a rank; of the first rank where that one has none."""
    if not len(rows):
        return rows
    of_rank = rows[rows["rank"] == rank]
    return of_rank if len(of_rank) else rows[rows["rank"] == rows["rank"].min()]


def table_card(table: Table) -> str:
    """Return the card of a table; below 120 rows is the number of rows left out."""
    shown = table.rows.head(MOST_ROWS)
    body = "".join(table_row(table, values) for values in shown.to_dict("records"))
    css = ' class="wraps"' if table.wraps else ""
    left = len(table.rows) - len(shown)
    more = f'<p class="muted">and {count_text(left)} more rows.</p>' if left > 0 else ""
    save = f'<button type="button" class="save" data-csv="{table.id}">CSV</button>'
    return (
        f'<section class="card table" id="section-{table.id}">'
        f'<h2>{escape(table.title)}{save}</h2><p class="note">{escape(table.note)}</p>'
        f'<div class="wide"><table id="table-{table.id}"{css}>'
        f"<thead><tr>{table_heads(table)}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{more}</section>"
    )


def table_heads(table: Table) -> str:
    """Return the heads of a table; a click on a head sorts by its column."""
    heads = []
    for number, column in enumerate(table.columns):
        css = "text" if column.format_value is None else "number"
        attributes = f'title="{escape(column.meaning)}" tabindex="0" data-sort="{number}"'
        heads.append(f'<th class="{css}" {attributes}>{escape(column.head)}</th>')
    return "".join(heads) + ("<th></th>" if table.place is not None else "")


def table_row(table: Table, values: dict[Any, Any]) -> str:
    """Return a row, with a link to its place on the timeline."""
    cells = "".join(
        table_cell(column, values[column.name], values[column.full or column.name])
        for column in table.columns
    )
    if table.place is not None:
        begin_column, duration_column = table.place
        begin_ns = int(values[begin_column])
        end_ns = begin_ns + max(int(values[duration_column]), 1)
        cells += f"<td>{timeline_link(begin_ns, end_ns, 'show')}</td>"
    return f"<tr>{cells}</tr>"


def name_text(value: Any) -> str:
    """Return a name, cut where it is very long, as text of a page."""
    text = str(value)
    return escape(text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…")


def table_cell(column: TableColumn, value: Any, full: Any) -> str:
    """Return a cell; its data value is what the table is sorted by, and saved."""
    if column.format_value is None:
        short, whole = name_text(value), name_text(full)
        return f'<td class="text" data-value="{whole}" title="{whole}"><code>{short}</code></td>'
    text = escape(column.format_value(value))
    return f'<td class="number" data-value="{float(value):.9g}">{text}</td>'
