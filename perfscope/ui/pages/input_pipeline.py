"""Does the training get its batches in time, and if not, what would help?"""

from typing import Any

from dash import Dash

from perfscope.traces.trace import Trace
from perfscope.ui.sections import of_workers
from perfscope.ui.view import View

PATH, TITLE = "input", "Input pipeline"


def not_applicable(trace: Trace) -> str | None:
    return None if trace.has("loader") or trace.has("fetches") else trace.why_absent("loader")


def layout(view: View) -> list[Any]:
    rank = view.diagnosis.budget_rank if view.diagnosis.budget_rank is not None else 0
    return view.cards(of_workers(view.trace, view.diagnosis, rank))


def register(app: Dash) -> None:
    """Nothing moves here by itself."""
