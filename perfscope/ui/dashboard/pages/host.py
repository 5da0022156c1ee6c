"""What the job used of the machine: cores, waiting for cores, disk, memory."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.sections import host_sections


def not_applicable(trace: Trace) -> str | None:
    """Return why the use of the machine is not known; None where it is."""
    return None if trace.has("counters") else trace.why_absent("counters")


def layout(view: View) -> list[Any]:
    """Return the charts of each host."""
    return [*view.all_ranks_note(), *view.cards(host_sections(view.shown_trace))]


PAGE = Page("host", "Host", not_applicable, layout)
