"""The allocator over time, who asks it for memory, and how much of what it holds is not used."""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.trace_sections import memory

PATH, TITLE = "memory", "Memory"


def not_applicable(trace: Trace) -> str | None:
    return (
        None
        if trace.has("memory")
        else f"no allocations were recorded: {trace.why_absent('memory')}"
    )


def layout(view: View) -> list[Any]:
    return view.evidence(memory(view.trace))


def register(app: Dash, library: Library) -> None:
    """The browser sorts and saves by itself."""
