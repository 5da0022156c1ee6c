"""Tables of the pages and the report: each column says what it means, any can be sorted by, the
whole saved as CSV.
"""

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
    """`name` in the frame, the head, what it means, how a value is told (None: as text, set as
    code).
    """

    name: str
    head: str
    meaning: str
    told: Callable[[Any], str] | None = None


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
    """`rows` are already in order; `longest` names the column that holds the instant a row's `show
    me` leads to, if any.
    """

    id: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: pd.DataFrame
    place: tuple[str, str] | None = None  # columns: instant (ns), and how long (ns)
    wraps: bool = False  # many columns of a few words each: they may take several lines


def table_card(table: Table) -> str:
    """HTML of the card; the script sorts and saves it. Beyond 120 rows the number of those left out
    stands below.
    """
    heads = "".join(
        f'<th class="{"text" if one.told is None else "number"}" title="{escape(one.meaning)}"'
        f' tabindex="0" data-sort="{at}">{escape(one.head)}</th>'
        for at, one in enumerate(table.columns)
    )
    heads += "<th></th>" if table.place is not None else ""
    shown = table.rows.head(MOST_ROWS)
    body = "".join(row(table, one) for one in shown.to_dict("records"))
    wraps = ' class="wraps"' if table.wraps else ""
    left = len(table.rows) - len(shown)
    more = (
        f'<p class="muted">and {count(left)} more rows, each smaller than these.</p>'
        if left > 0
        else ""
    )
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
    if column.told is None:
        text = str(value)
        short = text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…"
        return (
            f'<td class="text" data-value="{escape(short)}"'
            f' title="{escape(short)}"><code>{escape(short)}</code></td>'
        )
    return f'<td class="number" data-value="{float(value):.9g}">{escape(column.told(value))}</td>'
