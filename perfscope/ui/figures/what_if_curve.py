"""The predicted step time for each number of loader workers, and the measured one."""

import plotly.graph_objects as go

from perfscope.analyzer.input.what_if import WhatIf
from perfscope.ui.figures.figure_layout import figure, legend_above
from perfscope.ui.theme import LIGHT


def what_if_curve(
    predicted: dict[int, WhatIf], chosen: int, measured: tuple[int, float]
) -> go.Figure:
    """Return the curve over the number of workers.

    `measured` is the current number of workers and the step time in ns.
    """
    known = {count: answer.after for count, answer in predicted.items() if answer.after is not None}
    counts = list(known)
    fig = figure(250, x_title="loader workers", y_title="ms per step")
    low, high = [known[n].fast / 1e6 for n in counts], [known[n].slow / 1e6 for n in counts]
    color = LIGHT.category["input-wait"]
    fig.add_scatter(
        x=[*counts, *counts[::-1]],
        y=[*high, *low[::-1]],
        mode="lines",
        fill="toself",
        fillcolor="rgba(238,143,0,.16)",
        line={"width": 0},
        hoverinfo="skip",
        name="optimistic to pessimistic",
    )
    fig.add_scatter(
        x=counts,
        y=[known[n].likely / 1e6 for n in counts],
        mode="lines+markers",
        name="predicted",
        meta={"category": "input-wait"},
        line={"width": 2, "color": color},
        marker={"size": [13 if n == chosen else 6 for n in counts], "color": color},
        hovertemplate="%{x} workers: %{y:.4g} ms<extra></extra>",
    )
    fig.add_scatter(
        x=[measured[0]],
        y=[measured[1] / 1e6],
        mode="markers",
        name="measured",
        meta={"category": "accent"},
        marker={"size": 11, "symbol": "diamond", "color": LIGHT.accent},
        hovertemplate="measured: %{y:.4g} ms<extra></extra>",
    )
    top = max([measured[1] / 1e6, *high])
    fig.update_layout(yaxis={"range": [0, 1.1 * top], "nticks": 6}, xaxis={"tickformat": "d"})
    return legend_above(fig)
