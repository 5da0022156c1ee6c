"""The runs of a folder as a grid, each with its verdict; new runs appear in it."""

import hashlib
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component
from dash_ag_grid import AgGrid

from perfscope.analyzer.number_text import plural
from perfscope.errors import PerfscopeError
from perfscope.traces.encoded_json import encoded_json
from perfscope.ui.dashboard.dashboard_data import DashboardSource
from perfscope.ui.dashboard.grid import DEFAULTS, GRID_THEME, GridState, quick_search_of
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.page_frame import notice
from perfscope.ui.dashboard.run_rows import Row, run_rows
from perfscope.ui.dashboard.verdicts import Verdicts

NAME = "runs"
GRID = {"kind": "grid", "name": NAME}
REFRESH_EVERY_MS = 2000
ROW_PX = 44
CACHE_S = 1.0
"""How long the first page waits for answers from the cache: most are there within that time."""
MOST_DELETED = 200
NO_RUNS = (
    "Record one with `perfscope attach PID`, or copy a trace of the PyTorch profiler into this"
    " folder. New runs appear here within seconds."
)
TEXT_FILTER = {
    "filter": "agTextColumnFilter",
    "floatingFilter": True,
    "suppressFloatingFilterButton": True,
    "suppressHeaderFilterButton": True,
}
NUMBER = {"type": "rightAligned", "sortingOrder": ["desc", "asc", None]}


def layout(source: DashboardSource, query: dict[str, str]) -> list[Any]:
    """Return the list, and the clock that refreshes it; `query` has the state of the grid."""
    rows = rows_now(source.library, source.verdicts, CACHE_S)
    state, may_delete = GridState.of(query, NAME), source.access.token is not None
    return [
        html.Header(html.Div([html.B("Runs"), html.Span(str(source.library.root))])),
        html.Div(notice("No runs yet", NO_RUNS), id="no-runs", hidden=bool(rows)),
        html.Section(
            [tools(state, may_delete), run_grid(rows, state, may_delete)],
            className="card run-list",
            id="run-list",
            hidden=not rows,
        ),
        html.Div(id="deletion-reply", role="status"),
        deletion_dialog(),
        dcc.Store(id="deletion"),
        dcc.Store(id="runs-version", data=version(rows)),
        dcc.Interval(id="runs-clock", interval=REFRESH_EVERY_MS),
    ]


def rows_now(library: Library, verdicts: Verdicts, wait_s: float = 0.0) -> list[Row]:
    """Return the rows of the list, with the verdicts that are known now.

    It waits at most `wait_s` for answers from the cache.
    """
    runs = library.runs()
    judged = [run for run in runs if not run.job]
    known = verdicts.of(judged)
    if wait_s and len(known) < len(judged):
        verdicts.wait_for_cache(wait_s)
        known = verdicts.of(judged)
    return run_rows(runs, known)


def version(rows: list[Row]) -> str:
    """Return a text that changes with the rows: they are sent only then."""
    return hashlib.blake2b(encoded_json(rows), digest_size=8).hexdigest()


def tools(state: GridState, may_delete: bool) -> Component:
    """Return the search, and the button that deletes the selected runs."""
    delete = html.Button(
        "Delete…", id="delete-runs", type="button", className="save", disabled=True
    )
    buttons = [delete] if may_delete else []
    return html.H2(
        [
            html.Span(id="run-count"),
            html.Span(
                [quick_search_of(NAME, state.search, "search runs"), *buttons],
                className="table-tools",
            ),
        ]
    )


def deletion_dialog() -> Component:
    """Return the dialog that names what will be deleted, and asks."""
    buttons = [
        html.Button("Delete", id="confirm-deletion", type="button", className="button danger"),
        html.Button("Keep", id="cancel-deletion", type="button", className="button"),
    ]
    return html.Dialog(
        [
            html.H2("Delete these run folders?"),
            html.Ul(id="deletion-names"),
            html.P("They are removed from the disk. This cannot be undone."),
            html.Div(buttons, className="dialog-buttons"),
        ],
        id="deletion-dialog",
    )


def run_grid(rows: list[Row], state: GridState, may_delete: bool) -> Component:
    """Return the grid of the runs."""
    columns = run_columns()
    for column in columns:
        if column["field"] == state.sorted_by:
            column["sort"] = state.order
    selection: dict[str, Any] = {"mode": "multiRow", "enableClickSelection": False}
    selection |= {
        "checkboxes": may_delete,
        "headerCheckbox": False,
        "hideDisabledCheckboxes": True,
        "isRowSelectable": {"function": "isRemovable(params)"},
    }
    made: Component = AgGrid(
        id=GRID,
        rowData=rows,
        columnDefs=columns,
        defaultColDef=DEFAULTS,
        filterModel=state.filters,
        getRowId="params.data.id",
        dashGridOptions={
            "quickFilterText": state.search,
            "theme": {"function": GRID_THEME},
            "rowHeight": ROW_PX,
            "rowSelection": selection,
            "isExternalFilterPresent": {"function": "true"},
            "doesExternalFilterPass": {"function": "isUnfolded(params)"},
            "postSortRows": {"function": "putPartsAfterJobs(params)"},
            "tooltipShowDelay": 300,
            "animateRows": False,
            "suppressMovableColumns": True,
            "enableCellTextSelection": True,
        },
        style={"height": "calc(100vh - 190px)", "minHeight": "240px", "width": "100%"},
    )
    return made


def run_columns() -> list[dict[str, Any]]:
    """Return the columns: what each shows, and how it is sorted and filtered."""
    shown_text = {"valueFormatter": {"function": "shownText(params)"}}
    return [
        {
            "field": "name",
            "headerName": "run",
            "cellRenderer": "RunName",
            "flex": 3,
            "minWidth": 180,
            "tooltipField": "name",
        }
        | TEXT_FILTER,
        {
            "field": "verdict",
            "headerName": "verdict",
            "cellRenderer": "RunVerdict",
            "flex": 5,
            "minWidth": 200,
            "colSpan": {"function": "verdictSpan(params)"},
            "tooltipValueGetter": {"function": "verdictTooltip(params)"},
        }
        | TEXT_FILTER,
        {
            "field": "bar",
            "headerName": "time budget",
            "cellRenderer": "RunBar",
            "cellDataType": False,
            "flex": 2,
            "minWidth": 100,
            "sortable": False,
        },
        {"field": "step", "headerName": "per step", "cellRenderer": "RunStep", "width": 96}
        | NUMBER,
        {
            "field": "gain",
            "headerName": "speedup",
            "headerTooltip": "predicted for the first recommended change",
            "width": 118,
        }
        | NUMBER
        | shown_text,
        {"field": "changed", "headerName": "changed", "width": 126} | NUMBER | shown_text,
    ]


def register(app: Dash, source: DashboardSource) -> None:
    """Refresh the list every two seconds, and delete runs."""
    library, verdicts = source.library, source.verdicts

    def refresh(_: object, shown: object) -> tuple[Any, ...]:
        rows = rows_now(library, verdicts)
        now = version(rows)
        if now == shown:
            return (no_update,) * 4
        return rows, now, bool(rows), not rows

    app.callback(
        Output(GRID, "rowData"),
        Output("runs-version", "data"),
        Output("no-runs", "hidden"),
        Output("run-list", "hidden"),
        Input("runs-clock", "n_intervals"),
        State("runs-version", "data"),
    )(refresh)
    if source.access.token is not None:
        app.callback(
            Output("deletion-reply", "children"),
            Input("deletion", "data"),
            prevent_initial_call=True,
        )(lambda ids: deletion_reply(library, ids))
    register_in_browser: Any = app.clientside_callback
    register_in_browser(
        ClientsideFunction("perfscope", "selectedRuns"),
        Output("run-count", "children"),
        Input(GRID, "selectedRows"),
        Input(GRID, "rowData"),
    )


def deletion_reply(library: Library, ids: object) -> Any:
    """Delete the runs with these ids, and return what was deleted and what was not, and why."""
    from perfscope.traces.run_folder.removal import remove_run

    if not isinstance(ids, list) or len(ids) > MOST_DELETED:
        return no_update
    wanted = {each for each in ids if isinstance(each, str)}
    runs = [run for run in library.runs() if run.id in wanted and run.run and not run.leads_out]
    paths = {path: None for run in runs for path in run.paths}
    deleted, kept = 0, []
    for path in paths:
        try:
            remove_run(path)
            deleted += 1
        except PerfscopeError as error:
            kept.append(str(error))
    library.forget()
    return " ".join([f"Deleted {plural(deleted, 'run folder')}."] * bool(deleted) + kept)
