"""How the ranks talk: per group and kind, how much of it computation hides, how much is waiting for
peers.
"""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.communication import communication

PATH, TITLE = "communication", "Communication"


def not_applicable(trace: Trace) -> str | None:
    return (
        None
        if trace.has("collectives")
        else f"no collectives were recorded: {trace.why_absent('collectives')}"
    )


def layout(view: View) -> list[Any]:
    return view.evidence(communication(view.trace, view.rank))


def register(app: Dash, library: Library) -> None:
    """The browser sorts and saves by itself."""
