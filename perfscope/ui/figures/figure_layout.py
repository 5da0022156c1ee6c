"""The layout of every figure: space for labels, and colors that follow the page's theme.

A trace names its category in `meta`; the page's script repaints it when the theme changes.
"""

from typing import Any

import plotly.graph_objects as go

from perfscope.ui.theme import LIGHT

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def figure(height: int, *, x_title: str = "", y_title: str = "") -> go.Figure:
    """Return an empty figure."""
    axis: dict[str, Any] = {
        "showgrid": False,
        "zeroline": False,
        "linecolor": LIGHT.line,
        "tickcolor": LIGHT.line,
        "ticks": "outside",
        "ticklen": 4,
    }
    layout = go.Layout(
        height=height,
        margin={"l": 60, "r": 10, "t": 8, "b": 42 if x_title else 24},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": LIGHT.muted},
        hoverlabel={"font": {"family": FONT, "size": 12}},
        xaxis={**axis, "title": {"text": x_title, "standoff": 8, "font": {"size": 12}}},
        yaxis={
            **axis,
            "title": {"text": y_title, "standoff": 10, "font": {"size": 12}},
            "gridcolor": LIGHT.line,
            "showgrid": True,
            "ticks": "",
        },
        showlegend=False,
        bargap=0,
        dragmode="zoom",
    )
    return go.Figure(layout=layout)


def time_axis(fig: go.Figure, span_s: tuple[float, float]) -> go.Figure:
    """Set the horizontal axis: seconds into the recording, the same span on every chart."""
    fig.update_xaxes(range=list(span_s), ticksuffix=" s", hoverformat=".2f")
    return fig


def legend_above(fig: go.Figure) -> go.Figure:
    """Add the legend above the plot, on the left."""
    fig.update_layout(
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        margin={"t": 30},
    )
    return fig
