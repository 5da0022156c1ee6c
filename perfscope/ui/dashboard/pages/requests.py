"""The requests to a server: latencies, the parts of a request, and both over time."""

from typing import Any

from perfscope.analyzer.serving.request_summary import request_summary
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.request_sections import request_sections
from perfscope.ui.html.requests import requests_card


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no requests to show."""
    if trace.fact(request_summary) is not None:
        return None
    return f"no requests were recorded: {trace.why_absent('requests')}"


def layout(view: View) -> list[Any]:
    """Return the card of the requests of the job, and the charts of the shown processes."""
    sections = request_sections(view.shown_trace)
    charts = view.evidence([*sections]) if sections else []
    return [*view.shown(requests_card(view.diagnosis)), *charts]


PAGE = Page("requests", "Requests", not_applicable, layout)
