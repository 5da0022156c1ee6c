"""A figure on a page of the dashboard: its data in a store, drawn by the browser in the colours of
the theme.
"""

import json
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.ui.html.report import height
from perfscope.ui.html.sections import Section

CONFIG: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def graphs(sections: list[Section]) -> dict[str, Component]:
    """Section id -> the component that stands where the report has its chart."""
    return {one.id: graph(one) for one in sections}


def graph(section: Section) -> Component:
    """A store and a graph that belong together by `name`; the script fills the graph from the
    store.
    """
    label = f"{section.title}. {section.note}"
    drawn = dcc.Graph(
        id={"kind": "graph", "name": section.id},
        config=CONFIG,
        style={"height": height(section.figure)},
    )
    stored = dcc.Store(id={"kind": "figure", "name": section.id}, data=plain(section))
    props: dict[str, Any] = {"role": "img", "aria-label": label, "data-chart": section.id}
    return html.Div([stored, drawn], className="chart", **props)


def plain(section: Section) -> dict[str, Any]:
    figure: dict[str, Any] = json.loads(section.figure.to_json())
    figure["layout"]["uirevision"] = (
        section.id
    )  # what the viewer has zoomed to stays when the data change
    return figure
