"""A figure on a page of the dashboard: its data in a store, drawn in the colors of the theme."""

import json
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from perfscope.ui.html.report import height
from perfscope.ui.html.sections import Section

CONFIG: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def graphs(sections: list[Section]) -> dict[str, Component]:
    """Return the component of each section, by the section's id."""
    return {section.id: graph(section) for section in sections}


def graph(section: Section) -> Component:
    """Return the place of a chart, which is plain, or drawn by Plotly."""
    return plain_figure(section) if section.is_plain else plotly_graph(section)


def plain_figure(section: Section) -> Component:
    """Return the place that a script of ours draws the chart in, with its figure."""
    place: dict[str, Any] = {
        "role": "img",
        "aria-label": f"{section.title}. {section.note}",
        "data-chart": section.id,
        "data-figure": plain_data(section),
    }
    return html.Div(
        id={"kind": "plain", "name": section.id}, className="chart plain-figure", **place
    )


def plain_data(section: Section) -> str:
    """Return data and layout of the figure as JSON, without Plotly's template."""
    return encoded_figure(json.loads(section.figure.to_json()))


def encoded_figure(figure: dict[str, Any]) -> str:
    """Return a figure, given as plain data, as compact JSON without Plotly's template."""
    layout = {name: value for name, value in figure["layout"].items() if name != "template"}
    return json.dumps({"data": figure["data"], "layout": layout}, separators=(",", ":"))


def plotly_graph(section: Section) -> Component:
    """Return a store and a graph with the same `name`; a script draws the graph from the store."""
    drawn = dcc.Graph(
        id={"kind": "graph", "name": section.id},
        config=CONFIG,
        style={"height": height(section.figure)},
    )
    stored = dcc.Store(id={"kind": "figure", "name": section.id}, data=figure_data(section))
    props: dict[str, Any] = {
        "role": "img",
        "aria-label": f"{section.title}. {section.note}",
        "data-chart": section.id,
    }
    return html.Div([stored, drawn], className="chart", **props)


def figure_data(section: Section) -> dict[str, Any]:
    """Return the figure as plain data."""
    figure: dict[str, Any] = json.loads(section.figure.to_json())
    # What the viewer has zoomed to stays when the data change.
    figure["layout"]["uirevision"] = section.id
    return figure
