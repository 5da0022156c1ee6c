"""How late each rank joins the collectives: the median, and the 5th to 95th percentile."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.number_text import ms, percent
from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

ROW_HEIGHT = 26


def arrivals_figure(rows: pd.DataFrame) -> go.Figure:
    """Return the figure of the rows of the fact `arrival_spread`."""
    rows = rows.sort_values("rank", ascending=False)
    names = [f"rank {rank}" for rank in rows["rank"]]
    color = LIGHT.category["exposed-communication"]
    fig = figure(70 + ROW_HEIGHT * max(len(rows), 1), x_title="ms after the first rank")
    middle = (rows["median_ns"] / 1e6).round(4)
    tooltips = [
        f"{name}: median {ms(row['median_ns'])}, at most {ms(row['latest_ns'])}, last in"
        f" {percent(row['last_share'])} of collectives"
        for name, row in zip(names, rows.to_dict("records"), strict=True)
    ]
    fig.add_scatter(
        x=middle.tolist(),
        y=names,
        mode="markers",
        cliponaxis=False,
        meta={"category": "exposed-communication"},
        marker={"size": 10, "color": color},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (rows["high_ns"] / 1e6 - middle).clip(lower=0).round(4).tolist(),
            "arrayminus": (middle - rows["low_ns"] / 1e6).clip(lower=0).round(4).tolist(),
            "thickness": 3,
            "width": 0,
            "color": color,
        },
        customdata=tooltips,
        hovertemplate="%{customdata}<extra></extra>",
    )
    fig.update_layout(margin={"l": 70})
    fig.update_yaxes(type="category", ticklabelstandoff=8)
    fig.update_xaxes(rangemode="tozero")
    return fig
