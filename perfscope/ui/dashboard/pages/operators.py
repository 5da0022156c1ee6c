"""The operators and kernels that take the time, and how close they are to the hardware's limits."""

from dataclasses import replace
from typing import Any

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.tabs import Tab, tabbed
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.roofline_sections import roof_sections
from perfscope.ui.html.sections import PlainChart
from perfscope.ui.html.tables import Table, count_text, first_rows, without_empty_columns
from perfscope.ui.html.trace_sections import (
    device_work_charts,
    kernels_section,
    kernels_with_origins,
    operators_section,
    ranges_section,
)

NEEDS_A_TRACE = (
    "no operators or kernels were recorded; traces of the PyTorch profiler and of Nsight Systems"
    " have them"
)
TOP = 5
"""Kernels and operators in the summary."""


def summary(trace: Trace, rank: int) -> list[PlainChart]:
    """Return the classes of kernels, and the kernels and operators that take most of the time.

    It is the first tab, so it needs neither Plotly nor the script of the grids.
    """
    tables = [*kernels_section(trace, rank), *operators_section(trace, rank)]
    return [*device_work_charts(trace, rank), *(top_rows(table) for table in tables)]


def top_rows(table: Table) -> PlainChart:
    """Return the first rows of a table, and a link to the tab that has all of it."""
    count = len(table.rows)
    shown = without_empty_columns(replace(table, rows=table.rows.head(TOP)))
    title = f"{table.title}: the first {TOP} of {count_text(count)}" if count > TOP else table.title
    link = f'<a class="all-rows" data-page="operators?tab={table.id}">All columns and rows</a>'
    markup = f'<div class="table">{first_rows(shown, TOP)}</div><p>{link}</p>'
    return PlainChart(f"top-{table.id}", title, table.note, markup)


TABS = (
    Tab("summary", "Summary", lambda view: summary(view.trace, view.rank)),
    Tab("kernels", "Kernels", lambda view: kernels_with_origins(view.trace, view.rank)),
    Tab("operators", "Operators", lambda view: operators_section(view.trace, view.rank)),
    Tab("modules", "Modules", lambda view: ranges_section(view.trace, view.rank)),
    Tab("roofline", "Roofline", lambda view: roof_sections(view.trace, view.rank)),
)


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no operators to show."""
    has_work = any(trace.has(name) for name in ("ops", "kernels"))
    return None if has_work else NEEDS_A_TRACE


def layout(view: View) -> list[Any]:
    """Return the links to the tabs, and the tab that the address names."""
    return tabbed(view, PAGE.path, TABS)


PAGE = Page("operators", "Operators & kernels", not_applicable, layout)
