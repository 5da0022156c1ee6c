"""What happened when: every event of the run, by rank, process, thread and stream, at any zoom."""

from typing import Any

from dash import Dash, html

from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View

PATH, TITLE = "timeline", "Timeline"
TABLES = ("ranges", "loader", "fetches", "ops", "kernels", "launches", "copies")


def not_applicable(trace: Trace) -> str | None:
    """Asked for every link of the navigation, so by what is there and not by making the lanes."""
    return (
        None
        if any(trace.has(name) for name in TABLES)
        else f"no event to show: {trace.why_absent('ranges')}"
    )


def layout(view: View) -> list[Any]:
    view.trace.fact(timeline_lanes)  # made here, while the page says that it is being made
    place: dict[str, Any] = {
        "data-timeline": f"/timeline/{view.opened.found.id}",
        "data-height": "fill",
    }
    return [html.Div(id="timeline", **place)]


def register(app: Dash, library: Library) -> None:
    """The component asks its own routes (timeline_routes.py)."""
