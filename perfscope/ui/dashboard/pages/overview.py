"""The diagnosis: verdict, time budget, recommended changes, and what was not checked."""

from typing import Any

from perfscope.analyzer.summary.rank_view import seen_from_rank
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.coverage_cards import coverage_cards
from perfscope.ui.html.overview import answer_cards
from perfscope.ui.html.step_chart import step_chart


def not_applicable(trace: Trace) -> str | None:
    """Return None: every run has this page."""
    return None


def layout(view: View) -> list[Any]:
    """Return the diagnosis with the steps, and the coverage."""
    shown = seen_from_rank(view.trace, view.diagnosis, view.rank)
    steps = step_chart(view.trace, shown)
    answer = answer_cards(view.trace, view.diagnosis, steps, shown)
    return view.shown(answer + coverage_cards(view.trace, view.diagnosis))


PAGE = Page("overview", "Overview", not_applicable, layout)
