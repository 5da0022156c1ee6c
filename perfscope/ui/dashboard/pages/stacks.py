"""The code that the time was spent in: sampled stacks as icicle charts."""

from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.sections import stack_sections


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no stacks to show."""
    return None if trace.has("stacks") else trace.why_absent("stacks")


def layout(view: View) -> list[Any]:
    """Return a chart per role of the sampled processes."""
    return view.cards(stack_sections(view.trace))


PAGE = Page("stacks", "Stacks", not_applicable, layout)
