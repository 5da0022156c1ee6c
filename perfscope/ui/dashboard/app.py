"""The dashboard: a Dash application over a library of runs.

Every page, figure and script is served by this machine.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import flask
from dash import MATCH, ClientsideFunction, Dash, Input, Output, set_props

from perfscope.errors import PerfscopeError
from perfscope.ui.dashboard import grid, run_list, what_if_callback
from perfscope.ui.dashboard.callback_requests import check_callbacks
from perfscope.ui.dashboard.dashboard_data import DashboardSource
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.page_frame import frame
from perfscope.ui.dashboard.request_checks import REPORT_ROUTE, guard, text_response
from perfscope.ui.dashboard.routes import shown
from perfscope.ui.html.page_style import asset, embedded, report_style, script_colors
from perfscope.ui.theme import DARK, LIGHT
from perfscope.ui.timeline.component_files import timeline_style
from perfscope.ui.timeline.routes import add_timeline_routes

SCRIPTS = (
    "figure_colors.js",
    "search.js",
    "dashboard.js",
    "tables.js",
    "copy_code.js",
    "grids.js",
    "run_list.js",
    "step_chart.js",
    "plain_figure.js",
    "save_figure.js",
    "rank_heat.js",
)
INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{%title%}</title>{%favicon%}<link rel="stylesheet" href="/page/style.css">
<script src="/page/script.js"></script><script src="/timeline/component.js"></script>
</head><body>{%app_entry%}<noscript>
The dashboard needs JavaScript; the HTML report shows the diagnosis without it.</noscript>
<div hidden>{%config%}{%scripts%}{%renderer%}</div></body></html>
"""


@contextmanager
def without_dash_variables() -> Iterator[None]:
    """Hide the settings that the environment has for another Dash application of the user: one of
    them contradicts ours, others turn on its debugger.
    """
    hidden = {name: value for name, value in os.environ.items() if name.startswith("DASH_")}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def create_app(source: DashboardSource) -> Dash:
    """Return the application; `app.server` is the WSGI application."""
    with without_dash_variables():
        app = Dash(
            "perfscope",
            title="perfscope",
            update_title="",
            assets_folder=str(files("perfscope.ui") / "assets"),
            include_assets_files=False,
            include_pages_meta=False,
            use_pages=False,
            index_string=INDEX,
            suppress_callback_exceptions=True,
            compress=True,
            enable_mcp=False,
            add_log_handler=False,
            requests_pathname_prefix=f"{source.access.base_path}/",
            routes_pathname_prefix="/",
            on_error=show_error,
        )
        app.enable_dev_tools(debug=False, dev_tools_disable_version_check=True)
    app.layout = frame()
    register(app, source)
    what_if_callback.register(app, source.library)
    serve_files(app.server, source.library)
    library = source.library
    add_timeline_routes(
        app.server, lambda run: library.get(run).trace, lambda run: library.get(run).diagnosis
    )
    guard(app.server, source.access, lambda: list(app.csp_hashes()))
    check_callbacks(app)
    return app


def register(app: Dash, source: DashboardSource) -> None:
    """Register the callbacks of all pages: address to page, and stored figure to drawn figure."""
    where = (Input("url", "pathname"), Input("url", "search"))
    what = (
        Output("links", "children"),
        Output("page", "children"),
        Output("title", "data"),
        Output("failure", "children"),
    )

    def open_page(path: object, search: object) -> tuple[Any, ...]:
        found = shown(
            source,
            path if isinstance(path, str) else "/",
            search if isinstance(search, str) else None,
        )
        return found.links, found.page, found.title, None

    app.callback(*what, *where)(open_page)
    run_list.register(app, source)
    if source.live is not None:
        from perfscope.ui.dashboard import live_page

        live_page.register(app, source.live)
    grid.register(app)
    in_browser(app, "title", Output("title", "id"), Input("title", "data"))
    in_browser(app, "theme", Output("theme", "data"), Input("switch-theme", "n_clicks"))
    graph, figure = ({"kind": kind, "name": MATCH} for kind in ("graph", "figure"))
    in_browser(app, "paint", Output(graph, "figure"), Input(figure, "data"), Input("theme", "data"))


def in_browser(app: Dash, name: str, output: Output, *inputs: Any) -> None:
    """Register a callback that the browser runs: a function of dashboard.js."""
    register_in_browser: Any = app.clientside_callback
    register_in_browser(ClientsideFunction("perfscope", name), output, *inputs)


def serve_files(server: flask.Flask, library: Library) -> None:
    """Add the routes of the style, the script, and each run's HTML report."""

    def stylesheets() -> flask.Response:
        return flask.Response(
            report_style() + timeline_style() + asset("dashboard.css"), mimetype="text/css"
        )

    def script() -> flask.Response:
        palettes = embedded({"light": script_colors(LIGHT), "dark": script_colors(DARK)})
        text = f"const palettes = {palettes};\n" + "".join(map(asset, SCRIPTS))
        return flask.Response(text, mimetype="text/javascript")

    def report(run_id: str) -> flask.Response:
        from perfscope.ui.html.report import page

        opened = library.get(run_id)
        return flask.Response(page(opened.trace, opened.diagnosis), mimetype="text/html")

    server.register_error_handler(PerfscopeError, lambda error: text_response(str(error), 404))
    server.add_url_rule("/page/style.css", "page-style", stylesheets)
    server.add_url_rule("/page/script.js", "page-script", script)
    server.add_url_rule("/run/<run_id>.html", REPORT_ROUTE, report)


def show_error(error: Exception) -> None:
    """Show the error of a callback on the page; the rest of the page stays."""
    is_expected = isinstance(error, PerfscopeError)
    if not is_expected:
        logging.getLogger("perfscope").error("a callback failed", exc_info=error)
    words = str(error) if is_expected else f"{type(error).__name__}: {error}"
    set_props("failure", {"children": f"Something went wrong: {words}"})
