"""The time of a device by kernel class: a bar each, the largest on top."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.number_text import ms, percent
from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

BAR_HEIGHT = 26
COLORED = {"communication": "exposed-communication", "copy": "exposed-copy"}


def kernel_class_bars(classes: pd.DataFrame) -> go.Figure:
    """Return the figure of one device; `classes` are rows of the fact `kernel_classes`."""
    rows = classes.sort_values("sum_ns")
    fig = figure(40 + BAR_HEIGHT * max(len(rows), 1), x_title="ms")
    marks = ["communication", "copy", ""]
    for mark in marks:
        part = (
            rows[rows["kernel_class"] == mark]
            if mark
            else rows[~rows["kernel_class"].isin(marks[:2])]
        )
        if not len(part):
            continue
        category = COLORED.get(mark, "device-compute")
        sums = zip(part["sum_ns"], part["share"], strict=True)
        labels = [f"{ms(sum_ns)}, {percent(share)}" for sum_ns, share in sums]
        fig.add_bar(
            orientation="h",
            y=part["kernel_class"].tolist(),
            x=(part["sum_ns"] / 1e6).round(4).tolist(),
            text=labels,
            textposition="outside",
            meta={"category": category},
            marker={"color": LIGHT.category[category], "line": {"width": 0}},
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    longest_ms = float(rows["sum_ns"].max()) / 1e6 if len(rows) else 1.0
    fig.update_layout(
        barmode="overlay",
        bargap=0.25,
        margin={"l": 110, "r": 20},
        xaxis={"range": [0, 1.16 * longest_ms]},
    )
    fig.update_yaxes(
        categoryorder="array", categoryarray=rows["kernel_class"].tolist(), showgrid=False
    )
    return fig
