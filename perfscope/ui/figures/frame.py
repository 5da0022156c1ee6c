"""What every figure has in common: no plotly look, room for labels, colours that follow the page's theme.

A trace names its category in `meta`; the page's script repaints it when the theme changes.
"""

from typing import Any

import plotly.graph_objects as go

from perfscope.ui.theme import LIGHT

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def figure(height: int, *, x_title: str = "", y_title: str = "") -> go.Figure:
    """An empty figure of ours."""
    axis: dict[str, Any] = {
        "showgrid": False,
        "zeroline": False,
        "linecolor": LIGHT.line,
        "tickcolor": LIGHT.line,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12}},
    }
    layout = go.Layout(
        height=height,
        margin={"l": 56, "r": 12, "t": 8, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": LIGHT.muted},
        hoverlabel={"font": {"family": FONT, "size": 12}},
        xaxis={**axis, "title": {**axis["title"], "text": x_title}},
        yaxis={**axis, "title": {**axis["title"], "text": y_title}, "gridcolor": LIGHT.line, "showgrid": True},
        showlegend=False,
        bargap=0,
        dragmode="zoom",
    )
    return go.Figure(layout=layout)
