"""What the job used of the machine: cores, waiting for cores, disk, memory."""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.sections import of_host

PATH, TITLE = "host", "Host"


def not_applicable(trace: Trace) -> str | None:
    return None if trace.has("counters") else trace.why_absent("counters")


def layout(view: View) -> list[Any]:
    return view.cards(of_host(view.trace))


def register(app: Dash, library: Library) -> None:
    """Nothing moves here by itself."""
