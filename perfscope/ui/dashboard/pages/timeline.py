"""Every event of the run over time: by rank, process, thread and stream, at any zoom."""

from typing import Any

from dash import html

from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View

TABLES = ("ranges", "loader", "fetches", "ops", "kernels", "launches", "copies")


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no events to show.

    The navigation of every page calls it, so it looks at the tables and does not make the lanes.
    """
    if any(trace.has(name) for name in TABLES):
        return None
    return f"no event to show: {trace.why_absent('ranges')}"


def layout(view: View) -> list[Any]:
    """Return the place that the timeline's script draws in; it requests its own routes."""
    view.trace.fact(timeline_lanes)  # computed now, while the page shows that it is loading
    place: dict[str, Any] = {
        "data-timeline": f"/timeline/{view.opened.found.id}",
        "data-height": "fill",
    }
    return [html.Div(id="timeline", **place)]


PAGE = Page("timeline", "Timeline", not_applicable, layout)
