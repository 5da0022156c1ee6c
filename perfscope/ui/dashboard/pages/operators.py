"""The operators and kernels that take the time, and how close they are to the hardware's limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.roof_sections import roof_sections
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Table
from perfscope.ui.html.trace_sections import (
    device_work_charts,
    kernels_section,
    operators_section,
    ranges_section,
)

NEEDS_A_TRACE = (
    "no operators or kernels were recorded; traces of the PyTorch profiler and of Nsight Systems"
    " have them"
)
TOP = 5
"""Kernels and operators in the summary."""


def summary(trace: Trace, rank: int) -> list[Section | Table]:
    """Return the classes of kernels, and the kernels and operators that take most of the time."""
    tables = [*kernels_section(trace, rank), *operators_section(trace, rank)]
    return [*device_work_charts(trace, rank), *(first_rows(table, TOP) for table in tables)]


def first_rows(table: Table, count: int) -> Table:
    """Return a table of the first rows."""
    title = f"{table.title}: the first {count}" if len(table.rows) > count else table.title
    return replace(table, id=f"top-{table.id}", title=title, rows=table.rows.head(count))


@dataclass(frozen=True)
class Tab:
    """A part of the page that is read only when it is opened: its name in the address, its title,
    and what it shows of a rank.
    """

    name: str
    title: str
    parts: Callable[[Trace, int], Sequence[Section | Table]]


TABS = (
    Tab("summary", "Summary", summary),
    Tab("kernels", "Kernels", kernels_section),
    Tab("operators", "Operators", operators_section),
    Tab("modules", "Modules", ranges_section),
    Tab("roofline", "Roofline", roof_sections),
)


def not_applicable(trace: Trace) -> str | None:
    """Return why there are no operators to show."""
    has_work = any(trace.has(name) for name in ("ops", "kernels"))
    return None if has_work else NEEDS_A_TRACE


def layout(view: View) -> list[Any]:
    """Return the links to the tabs, and the tab that the address names."""
    opened = next((tab for tab in TABS if tab.name == view.query.get("tab")), TABS[0])
    return [tab_links(view, opened), *view.evidence(list(opened.parts(view.trace, view.rank)))]


def tab_links(view: View, opened: Tab) -> Component:
    """Return a link for each tab; the opened one is marked."""
    links = [
        dcc.Link(
            tab.title,
            href=f"{view.base}/{PAGE.path}?tab={tab.name}",
            className="page-tab current" if tab is opened else "page-tab",
        )
        for tab in TABS
    ]
    label: dict[str, Any] = {"aria-label": "parts of this page"}
    return html.Nav(links, className="page-tabs", **label)


PAGE = Page("operators", "Operators & kernels", not_applicable, layout)
