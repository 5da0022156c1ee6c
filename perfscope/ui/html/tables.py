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
class Column:
    """A column: its name in the frame, its head and tooltip, and the format of its values.

    Values without a format are shown as code.
    """

    name: str
    head: str
    meaning: str
    format_value: Callable[[Any], str] | None = None


def count(value: float) -> str:
    return f"{int(value):,}".replace(",", " ")


def time(value: float) -> str:
    return ms(value) if value > 0 else "0"


def known_time(value: float) -> str:
    return "not known" if value < 0 else time(value)


def known_bytes(value: float) -> str:
    return "not known" if value < 0 else megabytes(value)


def share(value: float) -> str:
    return percent(float(value))


@dataclass(frozen=True)
class Table:
    """Rows in their order, and the columns that hold the interval on the timeline, if any."""

    id: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: pd.DataFrame
    place: tuple[str, str] | None = None  # columns: begin and duration, in ns
    wraps: bool = False  # cells may have several lines


def table_card(table: Table) -> str:
    """Return the card of a table; below 120 rows is the number of rows left out."""
    heads = "".join(
        f'<th class="{"text" if one.format_value is None else "number"}" title="{escape(one.meaning)}"'
        f' tabindex="0" data-sort="{at}">{escape(one.head)}</th>'
        for at, one in enumerate(table.columns)
    )
    heads += "<th></th>" if table.place is not None else ""
    shown = table.rows.head(MOST_ROWS)
    body = "".join(row(table, one) for one in shown.to_dict("records"))
    wraps = ' class="wraps"' if table.wraps else ""
    left = len(table.rows) - len(shown)
    more = f'<p class="muted">and {count(left)} more rows.</p>' if left > 0 else ""
    return (
        f'<section class="card table" id="section-{table.id}"><h2>{escape(table.title)}'
        f'<button type="button" class="save" data-csv="{table.id}">CSV</button></h2><p'
        f' class="note">{escape(table.note)}</p>'
        f'<div class="wide"><table id="table-{table.id}"{wraps}><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"{more}</section>"
    )


def row(table: Table, values: dict[Any, Any]) -> str:
    cells = "".join(cell(one, values[one.name]) for one in table.columns)
    if table.place is not None:
        begin, wide = int(values[table.place[0]]), max(int(values[table.place[1]]), 1)
        cells += f"<td>{timeline_link(begin, begin + wide, 'show')}</td>"
    return f"<tr>{cells}</tr>"


def cell(column: Column, value: Any) -> str:
    if column.format_value is None:
        text = str(value)
        short = text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…"
        return (
            f'<td class="text" data-value="{escape(short)}"'
            f' title="{escape(short)}"><code>{escape(short)}</code></td>'
        )
    return f'<td class="number" data-value="{float(value):.9g}">{escape(column.format_value(value))}</td>'
