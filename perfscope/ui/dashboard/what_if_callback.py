"""The callback of the sliders of the input page: the analyzer computes the prediction."""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State
from dash.exceptions import PreventUpdate

from perfscope.ui.dashboard.open_runs import Library


def register(app: Dash, library: Library) -> None:
    """Register the callback of the sliders, on the server and in the browser."""

    def predict(workers: object, cost: object, path: object, search: object) -> tuple[str, Any]:
        from perfscope.ui.dashboard.pages.input_pipeline import predicted
        from perfscope.ui.dashboard.view import View

        run = run_of_address(path, library)
        if run is None:
            raise PreventUpdate
        view = View.of(library.get(run), search if isinstance(search, str) else None)
        found = predicted(view, workers, cost)
        if found is None:
            raise PreventUpdate
        return found

    slider_values = (Input("what-if-workers", "value"), Input("what-if-cost", "value"))
    app.callback(
        Output("what-if", "children"),
        Output({"kind": "plain", "name": "what-if"}, "data-figure"),
        *slider_values,
        State("url", "pathname"),
        State("url", "search"),
        prevent_initial_call=True,
    )(predict)
    register_in_browser: Any = app.clientside_callback
    register_in_browser(
        ClientsideFunction("perfscope", "writeSliders"),
        Output("what-if", "title"),
        *slider_values,
        prevent_initial_call=True,
    )


def run_of_address(path: object, library: Library) -> str | None:
    """Return the id of the run whose page is at an address, None where it has none."""
    parts = path.split("/") if isinstance(path, str) else []
    if parts[1:2] == ["run"] and len(parts) > 2:
        return parts[2]
    only = library.single
    return only.id if only is not None else None
