"""The bus bandwidth of each collective and group: a bar each, with a mark at the links' peak."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.number_text import digits, percent
from perfscope.ui.figures.frame import figure, legend_above
from perfscope.ui.theme import LIGHT

BAR_HEIGHT = 34
LONGEST_LABEL = 34


def bus_bandwidth(rows: pd.DataFrame) -> go.Figure:
    """Return the figure; `rows` are those of the fact `collective_links` with a bandwidth."""
    rows = rows.iloc[::-1]
    labels = [
        collective_label(kind, group)
        for kind, group in zip(rows["kind"], rows["group"], strict=True)
    ]
    places = list(range(len(rows)))
    fig = figure(74 + BAR_HEIGHT * max(len(rows), 1), x_title="GB/s")
    rate, peak = rows["bus_bytes_per_s"] / 1e9, rows["peak_bytes_per_s"] / 1e9
    fig.add_bar(
        orientation="h",
        y=places,
        x=rate.round(4).tolist(),
        name="bus bandwidth",
        text=[bandwidth_of_peak(row) for row in rows.to_dict("records")],
        textposition="outside",
        cliponaxis=False,
        meta={"category": "exposed-communication"},
        marker={"color": LIGHT.category["exposed-communication"], "line": {"width": 0}},
        hovertemplate="%{text}<extra></extra>",
    )
    fig.add_scatter(
        x=peak.round(4).tolist(),
        y=places,
        mode="markers",
        name="peak of the links",
        meta={"category": "accent"},
        marker={"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": LIGHT.accent}},
        hovertemplate="peak of the links: %{x:.4g} GB/s<extra></extra>",
    )
    longest = max([*rate.dropna(), *peak.dropna()], default=0.0) or 1.0
    fig.update_layout(bargap=0.45, margin={"l": 20, "r": 20}, xaxis={"range": [0, 1.3 * longest]})
    fig.update_yaxes(
        tickmode="array", tickvals=places, ticktext=labels, showgrid=False, automargin=True
    )
    return legend_above(fig)


def collective_label(kind: object, group: object) -> str:
    """Return `all_reduce 0 [0, 1]`, shortened where it is long."""
    text = f"{kind} {group}"
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def bandwidth_of_peak(row: dict[Any, Any]) -> str:
    """Return `at least 6.56 GB/s, 2 % of the peak`."""
    least = "at least " if row["at_least"] else ""
    share = row["carried_bytes_per_s"] / row["peak_bytes_per_s"]
    part = f", {percent(share)} of the peak" if share == share else ""
    return f"{least}{digits(row['bus_bytes_per_s'] / 1e9)} GB/s{part}"
