"""The code that the time was spent in: lines and functions of the program, and sampled stacks."""

from typing import Any

from perfscope.analyzer.diagnosis import CodeCost
from perfscope.analyzer.summary.rank_view import code_of_rank
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.stack_choice import chosen_stacks, stack_filters
from perfscope.ui.dashboard.tabs import Tab, tabbed
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.code_tables import functions_table, lines_table
from perfscope.ui.html.sections import inverted_stack_sections, stack_sections


def not_applicable(trace: Trace) -> str | None:
    """Return why there is no code to show."""
    return None if trace.has("stacks") else trace.why_absent("stacks")


def shown_code(view: View) -> list[CodeCost]:
    """Return the time of the program's functions and lines in the rank that is shown."""
    return code_of_rank(view.trace, view.diagnosis, view.rank)


TABS = (
    Tab("lines", "Hot lines", lambda view: lines_table(shown_code(view))),
    Tab("functions", "Functions", lambda view: functions_table(shown_code(view))),
    Tab(
        "flame-graph",
        "Flame graph",
        lambda view: stack_sections(chosen_stacks(view)),
        stack_filters,
    ),
    Tab(
        "callers",
        "Callers",
        lambda view: inverted_stack_sections(chosen_stacks(view)),
        stack_filters,
    ),
)


def layout(view: View) -> list[Any]:
    """Return the links to the tabs, and the tab that the address names."""
    return tabbed(view, PAGE.path, TABS)


PAGE = Page("by-code", "By code", not_applicable, layout)
