"""The collectives of a rank, how much of them computation hides, and the waiting for peers."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.communication import communication_sections


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no collectives to show."""
    if trace.has("collectives"):
        return None
    return f"no collectives were recorded: {trace.why_absent('collectives')}"


def layout(view: View) -> list[Any]:
    """Return bandwidths, arrivals and the table of collectives."""
    return view.evidence(communication_sections(view.trace, view.rank))


PAGE = Page("communication", "Communication", not_applicable, layout)
