"""What happened when: steps, the training thread and its workers on one axis of time."""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.sections import of_workers
from perfscope.ui.view import View

PATH, TITLE = "timeline", "Timeline"
TABLES = ("loader", "ranges", "fetches")


def not_applicable(trace: Trace) -> str | None:
    return None if any(trace.has(name) for name in TABLES) else f"no event to show: {trace.why_absent('ranges')}"


def layout(view: View) -> list[Any]:
    rank = view.diagnosis.budget_rank if view.diagnosis.budget_rank is not None else 0
    sections = of_workers(view.trace, view.diagnosis, rank)
    asked = view.interval_s()
    for one in sections if asked is not None else []:
        begin, end = asked or (0.0, 0.0)
        room = max(0.75 * (end - begin), 0.01)
        one.figure.update_xaxes(range=[begin - room, end + room])
        one.figure.add_vrect(x0=begin, x1=end, layer="below", fillcolor="rgba(80,130,230,.14)", line={"width": 1.5})
    return view.cards(sections)


def register(app: Dash) -> None:
    """Nothing moves here by itself."""
