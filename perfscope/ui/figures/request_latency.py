"""The latency of requests over time, and the sizes of their batches."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.figure_layout import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

LINES = (("p50_ms", "p50", "device-compute"), ("p90_ms", "p90", "host-bound"))


def request_latency(intervals: pd.DataFrame, span_s: tuple[float, float]) -> go.Figure:
    """Return the median and the 90th percentile of the requests that arrive in each interval."""
    fig = figure(220, y_title="ms")
    for column, name, category in LINES:
        fig.add_scatter(
            x=(intervals["ts"] / 1e9).round(6).tolist(),
            y=intervals[column].round(4).tolist(),
            mode="lines+markers",
            name=name,
            meta={"category": category},
            marker={"size": 5, "color": LIGHT.category[category]},
            line={"width": 1.8, "color": LIGHT.category[category]},
            hovertemplate=f"%{{y:.3g}} ms<extra>{name}</extra>",
        )
    highest = float(intervals["p90_ms"].max())
    fig.update_layout(yaxis={"range": [0, 1.12 * highest], "nticks": 5}, hovermode="x")
    return legend_above(time_axis(fig, span_s))


def batch_sizes(batches: pd.DataFrame) -> go.Figure:
    """Return how many calls of the model have each number of requests."""
    fig = figure(200, x_title="requests per call of the model", y_title="calls")
    fig.add_bar(
        x=batches["size"].tolist(),
        y=batches["count"].tolist(),
        meta={"category": "device-compute"},
        marker={"color": LIGHT.category["device-compute"]},
        hovertemplate="%{y:,} calls with %{x} requests<extra></extra>",
    )
    highest = float(batches["count"].max())
    yaxis = {"range": [0, 1.08 * highest], "nticks": 5}
    return fig.update_layout(bargap=0.3, xaxis={"tickformat": "d"}, yaxis=yaxis)
