"""The answer: the verdict as a sentence, where a step goes, what to change, what is not known."""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.coverage_cards import coverage_cards
from perfscope.ui.html.overview import answer_cards
from perfscope.ui.html.report import UNDER_THE_BAR, chart
from perfscope.ui.html.sections import of_budget, of_steps

PATH, TITLE = "overview", "Overview"


def not_applicable(trace: Trace) -> str | None:
    return None


def layout(view: View) -> list[Any]:
    rank = view.diagnosis.budget_rank if view.diagnosis.budget_rank is not None else 0
    over_the_run = of_budget(view.trace, rank)
    under_bar = "".join(chart(one) for one in over_the_run if one.id == UNDER_THE_BAR)
    return [
        *view.shown(answer_cards(view.trace, view.diagnosis, under_bar), over_the_run),
        *view.cards(of_steps(view.trace, view.diagnosis, rank)),
        *view.shown(coverage_cards(view.trace, view.diagnosis)),
    ]


def register(app: Dash, library: Library) -> None:
    """Nothing moves here by itself."""
