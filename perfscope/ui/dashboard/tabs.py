"""Parts of a page behind tabs: each is computed and sent only when it is opened."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.ui.dashboard.view import View
from perfscope.ui.html.sections import PlainChart, Section
from perfscope.ui.html.tables import Table


@dataclass(frozen=True)
class Tab:
    """A part of a page: its name in the address, its title, and its charts and tables."""

    name: str
    title: str
    parts: Callable[[View], Sequence[Section | PlainChart | Table]]
    filters: Callable[[View, str, str], list[Component]] = lambda view, page, tab: []
    """Returns links above the parts that choose what they show."""


def tabbed(view: View, path: str, tabs: Sequence[Tab]) -> list[Any]:
    """Return the links to the tabs of the page at `path`, and the tab that the address names."""
    opened = next((tab for tab in tabs if tab.name == view.query.get("tab")), tabs[0])
    links = [
        tab_link(tab, view.address(path, tab=tab.name), is_opened=tab is opened) for tab in tabs
    ]
    label: dict[str, Any] = {"aria-label": "parts of this page"}
    navigation = html.Nav(links, className="page-tabs", **label)
    filters = opened.filters(view, path, opened.name)
    return [navigation, *filters, *view.evidence(list(opened.parts(view)))]


def tab_link(tab: Tab, address: str, *, is_opened: bool) -> Component:
    """Return the link to a tab at an address."""
    css = "page-tab current" if is_opened else "page-tab"
    return dcc.Link(tab.title, href=address, className=css)
