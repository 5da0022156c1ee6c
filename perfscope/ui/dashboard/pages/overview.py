"""The diagnosis: verdict, time budget, recommended changes, and what was not checked."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.coverage_cards import coverage_cards
from perfscope.ui.html.overview import answer_cards
from perfscope.ui.html.report import UNDER_THE_BAR, chart
from perfscope.ui.html.sections import budget_sections, step_sections


def not_applicable(trace: Trace) -> str | None:
    """Return None: every run has this page."""
    return None


def layout(view: View) -> list[Any]:
    """Return the diagnosis, the chart of step times, and the coverage."""
    budget = budget_sections(view.trace, view.rank)
    under_bar = "".join(chart(section) for section in budget if section.id == UNDER_THE_BAR)
    return [
        *view.shown(answer_cards(view.trace, view.diagnosis, under_bar), budget),
        *view.cards(step_sections(view.trace, view.diagnosis, view.rank)),
        *view.shown(coverage_cards(view.trace, view.diagnosis)),
    ]


PAGE = Page("overview", "Overview", not_applicable, layout)
