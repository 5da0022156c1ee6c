"""The memory of the allocator over time, its allocations by operator, and what is unused."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.trace_sections import memory_sections


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no allocations to show."""
    if trace.has("memory"):
        return None
    return f"no allocations were recorded: {trace.why_absent('memory')}"


def layout(view: View) -> list[Any]:
    """Return the charts of the allocators and the table of allocations."""
    return [*view.all_ranks_note(), *view.evidence(memory_sections(view.shown_trace))]


PAGE = Page("memory", "Memory", not_applicable, layout)
