"""Tables of the pages and the report: their columns and formats, and the report's HTML.

The report shows the first rows; the button below its heading saves all of them as CSV.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perfscope.analyzer.number_text import megabytes, ms, percent
from perfscope.traces.spreadsheet_text import spreadsheet_text
from perfscope.ui.html.markup import escape, timeline_link

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20
LONGEST_NAME = 400
NOTHING_KNOWN = ("", "not known", "nan", "None")


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

    @property
    def is_share(self) -> bool:
        """Whether the values are shares of one."""
        return self.format_value is share


@dataclass(frozen=True)
class Table:
    """Rows in their order, and the columns that hold the interval on the timeline, if any."""

    id: str
    title: str
    note: str
    columns: tuple[TableColumn, ...]
    rows: "pd.DataFrame"
    place: tuple[str, str] | None = None
    """The columns of the begin and the duration, in ns."""
    wraps: bool = False
    """Whether a cell may have several lines."""
    details: tuple[TableColumn, ...] = ()
    """What the dashboard shows of a selected row besides its columns."""


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


def rows_of_rank_or_first(rows: "pd.DataFrame", rank: int) -> "pd.DataFrame":
    """Return the rows of a rank; of the first rank where that one has none."""
    if not len(rows):
        return rows
    of_rank = rows[rows["rank"] == rank]
    return of_rank if len(of_rank) else rows[rows["rank"] == rows["rank"].min()]


def without_empty_columns(table: Table) -> Table:
    """Return the table without columns that say nothing: zero, unknown or empty in every row."""
    kept = tuple(
        column
        for number, column in enumerate(table.columns)
        if number == 0 or says_something(column, table.rows)
    )
    return replace(table, columns=kept)


def says_something(column: TableColumn, rows: "pd.DataFrame") -> bool:
    """Return whether a row has a value in a column."""
    if not len(rows):
        return True
    values = rows[column.name]
    if column.format_value is None:
        return not values.astype(str).isin(NOTHING_KNOWN).all()
    return bool((values > 0).any())


def empty_columns_note(table: Table, shown: Table) -> str:
    """Return which columns `shown` leaves out, "" where it has all."""
    kept = {column.name for column in shown.columns}
    heads = [column.head for column in table.columns if column.name not in kept]
    return f"Zero or not known in every row: {', '.join(heads)}." if heads else ""


def table_card(table: Table) -> str:
    """Return the card of a table; the button saves all of its rows."""
    return (
        f'<section class="card table" id="section-{table.id}">'
        f"<h2>{escape(table.title)}</h2>{table_body(table)}</section>"
    )


def table_body(table: Table) -> str:
    """Return the first rows of a table, its note, and the button that saves all rows."""
    shown = without_empty_columns(table)
    left = len(table.rows) - MOST_ROWS
    more = (
        f'<p class="muted more-rows">and {count_text(left)} more rows, in the CSV file.</p>'
        if left > 0
        else ""
    )
    save = f'<button type="button" class="save" data-csv="{table.id}">CSV</button>'
    note = " ".join(filter(None, [table.note, empty_columns_note(table, shown)]))
    return (
        f'<p class="section-tools">{save}</p><p class="note">{escape(note)}</p>'
        f"{first_rows(shown, MOST_ROWS)}{more}{csv_script(table)}"
    )


def first_rows(table: Table, most: int) -> str:
    """Return the element with the first rows of a table."""
    rows = table.rows.head(most).to_dict("records")
    body = "".join(table_row(table, values) for values in rows)
    css = ' class="wraps"' if table.wraps else ""
    return (
        f'<div class="wide"><table id="table-{table.id}"{css}>'
        f"<thead><tr>{table_heads(table)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def csv_script(table: Table) -> str:
    """Return all rows of a table as CSV, inside an element that is not shown."""
    names = [column.full or column.name for column in table.columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.head for column in table.columns])
    for values in table.rows[names].itertuples(index=False):
        writer.writerow(
            [
                spreadsheet_text(str(value)[:LONGEST_NAME])
                if column.format_value is None
                else f"{float(value):.9g}"
                for column, value in zip(table.columns, values, strict=True)
            ]
        )
    return f'<script type="text/csv" id="csv-{table.id}">{unclosable(text.getvalue())}</script>'


def unclosable(text: str) -> str:
    """Return text for inside a script element, which nothing in it can end.

    The browser undoes it before it saves the text.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;")


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
        return f'<td class="text" data-value="{whole}" title="{whole}">{short}</td>'
    text = escape(column.format_value(value))
    return f'<td class="number" data-value="{float(value):.9g}">{text}</td>'
