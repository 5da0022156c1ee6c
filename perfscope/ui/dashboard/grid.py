"""A table of the pages as a grid: virtual rows, filters, a quick search, details of a row."""

import json
from dataclasses import dataclass, field
from typing import Any

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash_ag_grid import AgGrid

from perfscope.ui.html.tables import (
    LONGEST_NAME,
    Table,
    TableColumn,
    count_text,
    empty_columns_note,
    without_empty_columns,
)

MOST_ROWS = 2000
SEARCHED_FROM = 8
"""Rows from which a table has a search field and filters."""
ROW_PX, HEAD_PX, FILTER_PX, MOST_SHOWN = 32, 38, 36, 15
LETTER_PX, PADDING_PX = 8, 10
SHOWN = "shown:"
"""Before the name of a column: its value as text."""
FULL = "full:"
"""Before the name of a column: the whole text of a shortened value."""
FROM, TO = "from", "to"
TEXT_FILTERS = ("contains", "notContains", "equals", "notEqual", "startsWith", "endsWith")
THEME = {
    "backgroundColor": "var(--surface)",
    "foregroundColor": "var(--text)",
    "browserColorScheme": "inherit",
    "borderColor": "var(--line)",
    "accentColor": "var(--accent)",
    "chromeBackgroundColor": "var(--surface)",
    "headerTextColor": "var(--muted)",
    "headerFontWeight": 600,
    "fontFamily": "inherit",
    "fontSize": 13,
    "rowHeight": ROW_PX,
    "headerHeight": HEAD_PX,
    "cellHorizontalPadding": PADDING_PX,
    "wrapperBorder": False,
    "columnBorder": False,
    "oddRowBackgroundColor": "transparent",
}
GRID_THEME = f"themeQuartz.withParams({json.dumps(THEME)})"
DEFAULTS = {"resizable": True, "sortable": True, "minWidth": 60, "wrapHeaderText": False}


@dataclass(frozen=True)
class GridState:
    """What the viewer has made of a grid, as the address has it."""

    search: str = ""
    sorted_by: str = ""
    order: str = ""
    filters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, query: dict[str, str], name: str) -> "GridState":
        """Return the state of the table `name`; what an address cannot mean is left out."""
        column, _, order = query.get(f"{name}.sort", "").rpartition(" ")
        order = order if order in ("asc", "desc") else ""
        try:
            filters = json.loads(query.get(f"{name}.filter", "{}"))
        except (ValueError, RecursionError):
            filters = {}
        return cls(
            query.get(f"{name}.search", "")[:LONGEST_NAME],
            column if order else "",
            order,
            text_filters(filters),
        )


def text_filters(filters: object) -> dict[str, Any]:
    """Return the filters of columns of text; others are not made by these pages."""
    if not isinstance(filters, dict):
        return {}
    return {
        name: {"filterType": "text", "type": each["type"], "filter": each["filter"]}
        for name, each in filters.items()
        if isinstance(each, dict)
        and each.get("type") in TEXT_FILTERS
        and isinstance(each.get("filter"), str)
    }


def register(app: Dash) -> None:
    """Register what the browser does with grids: details of a row, and the state in the address."""
    register_in_browser: Any = app.clientside_callback
    row, shown, grids = (
        {"kind": "row", "name": MATCH},
        {"kind": "grid", "name": MATCH},
        {"kind": "grid", "name": ALL},
    )
    register_in_browser(
        ClientsideFunction("perfscope", "showRow"),
        Output(row, "children"),
        Input(shown, "selectedRows"),
        State({"kind": "row-columns", "name": MATCH}, "data"),
    )
    register_in_browser(
        ClientsideFunction("perfscope", "writeGridState"),
        Input(grids, "columnState"),
        Input(grids, "filterModel"),
        State(grids, "id"),
    )


def grid_card(table: Table, query: dict[str, str]) -> Component:
    """Return the card of a table; what is in a selected row is shown below the grid.

    `query`: the parameters of the address, which has the state of the grid.
    """
    shown, state = without_empty_columns(table), GridState.of(query, table.id)
    has_search = len(shown.rows) >= SEARCHED_FROM
    tools: list[Any] = [quick_search_of(table.id, state.search)] if has_search else []
    tools.append(save_button(table))
    note = " ".join(filter(None, [table.note, empty_columns_note(table, shown)]))
    left = len(table.rows) - MOST_ROWS
    more = [html.P(f"and {count_text(left)} more rows.", className="muted")] if left > 0 else []
    return html.Section(
        [
            html.H2([table.title, html.Span(tools, className="table-tools")]),
            html.P(note, className="note"),
            data_grid(shown, state, has_filters=has_search),
            *more,
            dcc.Store(id={"kind": "row-columns", "name": table.id}, data=details_columns(table)),
            html.Div(id={"kind": "row", "name": table.id}, className="row-details"),
        ],
        className="card table",
        id=f"section-{table.id}",
    )


def details_columns(table: Table) -> list[tuple[str, str]]:
    """Return the name and the head of what is shown of a selected row."""
    return [(column.name, column.head) for column in (*table.columns, *table.details)]


def quick_search_of(name: str, words: str, placeholder: str = "search this table") -> Component:
    """Return the quick search over all columns of the grid `name`."""
    return dcc.Input(
        id={"kind": "quick-search", "name": name},
        type="search",
        value=words,
        placeholder=placeholder,
        className="quick-search",
    )


def save_button(table: Table) -> Component:
    """Return the button that saves the rows, as they are filtered and sorted."""
    return html.Button(
        "CSV", id={"kind": "save-rows", "name": table.id}, type="button", className="save"
    )


def data_grid(table: Table, state: GridState, *, has_filters: bool) -> Component:
    """Return the grid of a table, as high as its rows, at most MOST_SHOWN of them."""
    rows = grid_rows(table)
    columns = [column_definition(column, rows, has_filters) for column in table.columns]
    for column in columns:
        if column["field"] == state.sorted_by:
            column["sort"] = state.order
    columns[0] |= {"flex": 4, "minWidth": 220, "wrapText": True, "autoHeight": True}
    columns[0]["cellClass"] = "row-name"
    if table.place is not None:
        columns.append(link_column())
    filters_px = FILTER_PX if has_filters else 0
    height_px = HEAD_PX + filters_px + ROW_PX * min(max(len(rows), 1), MOST_SHOWN) + 4
    made: Component = AgGrid(
        id={"kind": "grid", "name": table.id},
        rowData=rows,
        columnDefs=columns,
        defaultColDef=DEFAULTS,
        filterModel=state.filters if has_filters else {},
        dashGridOptions={
            "quickFilterText": state.search,
            "theme": {"function": GRID_THEME},
            "rowSelection": {
                "mode": "singleRow",
                "checkboxes": False,
                "enableClickSelection": True,
            },
            "tooltipShowDelay": 300,
            "animateRows": False,
            "suppressMovableColumns": True,
            "enableCellTextSelection": True,
        },
        style={"height": f"{height_px}px", "width": "100%"},
    )
    return made


def column_definition(
    column: TableColumn, rows: list[dict[str, Any]], has_filters: bool
) -> dict[str, Any]:
    """Return how the grid shows a column: numbers as text of their unit, sorted by value."""
    shown: dict[str, Any] = {
        "field": column.name,
        "headerName": column.head,
        "headerTooltip": column.meaning,
    }
    if column.format_value is None:
        shown |= {"flex": 1, "minWidth": 120, "tooltipField": column.name}
        if column.full is not None:
            shown["tooltipField"] = FULL + column.name
        if has_filters:
            shown |= {
                "filter": "agTextColumnFilter",
                "floatingFilter": True,
                "suppressFloatingFilterButton": True,
                "suppressHeaderFilterButton": True,
            }
        return shown
    shown |= {
        "type": "rightAligned",
        "valueFormatter": {"function": "shownText(params)"},
        "width": number_column_px(column, rows),
        "sortingOrder": ["desc", "asc", None],
    }
    if column.is_share:
        shown["cellStyle"] = {"function": "shareBar(params)"}
    return shown


def number_column_px(column: TableColumn, rows: list[dict[str, Any]]) -> int:
    """Return the width at which the longest text and the head with its arrow are not cut."""
    letters = max((len(row[SHOWN + column.name]) for row in rows), default=0)
    return LETTER_PX * max(letters, len(column.head) + 2) + 2 * PADDING_PX + 8


def link_column() -> dict[str, Any]:
    """Return the column with the link of each row to the timeline."""
    return {
        "field": FROM,
        "headerName": "",
        "cellRenderer": "TimelineLink",
        "sortable": False,
        "pinned": "right",
        "width": 60,
    }


def grid_rows(table: Table) -> list[dict[str, Any]]:
    """Return the rows as plain data: each value, its text, and the interval on the timeline."""
    return [grid_row(table, values) for values in table.rows.head(MOST_ROWS).to_dict("records")]


def grid_row(table: Table, values: dict[Any, Any]) -> dict[str, Any]:
    """Return one row as plain data."""
    row: dict[str, Any] = {}
    for column in (*table.columns, *table.details):
        value = values[column.name]
        if column.format_value is None:
            row[column.name] = cut(value)
            if column.full is not None:
                row[FULL + column.name] = cut(values[column.full])
        else:
            row[column.name] = float(value)
            row[SHOWN + column.name] = column.format_value(value)
    if table.place is not None:
        begin_column, duration_column = table.place
        row[FROM] = int(values[begin_column])
        row[TO] = row[FROM] + max(int(values[duration_column]), 1)
    return row


def cut(value: Any) -> str:
    """Return a name, cut where it is very long."""
    text = str(value)
    return text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…"
