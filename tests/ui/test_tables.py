"""Tables: what is left out, the rows as CSV, and the state of a grid in the address."""

import csv
import io
import re

import pandas as pd
import pytest

from perfscope.ui.dashboard.grid import FULL, SHOWN, GridState, grid_rows
from perfscope.ui.html.tables import (
    MOST_ROWS,
    Table,
    TableColumn,
    count_text,
    empty_columns_note,
    table_card,
    time,
    without_empty_columns,
)

COLUMNS = (
    TableColumn("short", "kernel", "", full="name"),
    TableColumn("kind", "class", ""),
    TableColumn("count", "runs", "", count_text),
    TableColumn("wait_ns", "wait", "", time),
)


def made(rows: int) -> Table:
    names = [f"=cmd<{number}>&" for number in range(rows)]
    frame = pd.DataFrame(
        {"short": names, "name": names, "kind": "", "count": range(1, rows + 1), "wait_ns": 0}
    )
    return Table("t", "Table", "", COLUMNS, frame.assign(ts=5, dur=0), ("ts", "dur"))


def test_columns_that_say_nothing_are_left_out_and_named() -> None:
    table = made(3)
    shown = without_empty_columns(table)
    assert [column.name for column in shown.columns] == ["short", "count"]
    note = empty_columns_note(table, shown)
    assert "class" in note and "wait" in note and "runs" not in note
    assert empty_columns_note(table, table) == ""


def test_the_report_shows_the_first_rows_and_has_all_as_csv() -> None:
    markup = table_card(made(MOST_ROWS + 7))
    assert markup.count("<tr>") == MOST_ROWS + 1
    found = re.search(r'<script type="text/csv" id="csv-t">(.*?)</script>', markup, re.S)
    assert found is not None and "<" not in found.group(1)
    text = found.group(1).replace("&lt;", "<").replace("&amp;", "&")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["kernel", "class", "runs", "wait"] and len(rows) == MOST_ROWS + 8
    assert rows[1] == ["'=cmd<0>&", "", "1", "0"]


def test_a_row_of_a_grid_has_values_their_texts_and_its_place() -> None:
    [row] = grid_rows(made(1))
    assert (row["count"], row[SHOWN + "count"]) == (1.0, "1")
    assert row[FULL + "short"] == "=cmd<0>&" and (row["from"], row["to"]) == (5, 6)


@pytest.mark.parametrize(
    ("query", "state"),
    [
        ({}, GridState()),
        ({"t.sort": "count desc"}, GridState(sorted_by="count", order="desc")),
        ({"t.sort": "count sideways"}, GridState()),
        ({"t.search": "gemm", "other.search": "x"}, GridState(search="gemm")),
        ({"t.filter": "[" * 5000}, GridState()),
        ({"t.filter": '{"name": {"type": "evil", "filter": "x"}}'}, GridState()),
        (
            {"t.filter": '{"name": {"type": "contains", "filter": "x", "more": 1}}'},
            GridState(filters={"name": {"filterType": "text", "type": "contains", "filter": "x"}}),
        ),
    ],
)
def test_what_an_address_cannot_mean_is_left_out(query: dict[str, str], state: GridState) -> None:
    assert GridState.of(query, "t") == state
