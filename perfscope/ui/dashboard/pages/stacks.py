"""In which code the time was spent: sampled stacks as icicles."""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.sections import of_stacks

PATH, TITLE = "stacks", "Stacks"


def not_applicable(trace: Trace) -> str | None:
    return None if trace.has("stacks") else trace.why_absent("stacks")


def layout(view: View) -> list[Any]:
    return view.cards(of_stacks(view.trace))


def register(app: Dash, library: Library) -> None:
    """The browser zooms and searches by itself."""
