"""The duration of each step by phase, with median and 95th percentile of the steady steps."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.diagnosis import StepSummary
from perfscope.analyzer.number_text import ms
from perfscope.ui.figures.frame import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

MOST_POINTS = 2500
LABEL_SHARE = 0.1
"""Two labels closer than this share of the axis would touch."""
PHASES = {
    "train": ("training steps", "accent"),
    "inference": ("inference steps", "accent"),
    "eval": ("validation", "exposed-communication"),
    "warmup": ("warm-up, left out", "other-idle"),
}


def step_times(steps: pd.DataFrame, summary: StepSummary, span_s: tuple[float, float]) -> go.Figure:
    """Return the figure of the steps of one rank, rows of the fact `steps`.

    Of more than 2,500 steps, only the slowest of each group of neighbors is drawn.
    """
    together = max(1, -(-len(steps) // MOST_POINTS))
    rows = steps
    if together > 1:
        rows = (
            steps.sort_values("dur").groupby(steps["index"] // together).tail(1).sort_values("ts")
        )
    fig = figure(230, y_title="ms per step")
    for phase, (name, category) in PHASES.items():
        of_phase = rows[rows["phase"] == phase]
        if not len(of_phase):
            continue
        fig.add_scatter(
            x=of_phase["ts"] / 1e9,
            y=of_phase["dur"] / 1e6,
            mode="markers",
            name=name,
            meta={"category": category},
            marker={"size": 5, "color": LIGHT.category.get(category, LIGHT.accent), "opacity": 0.7},
            hovertemplate="step %{customdata}: %{y:.4g} ms<br>at %{x:.2f} s<extra></extra>",
            customdata=of_phase["index"],
        )
    top_ms = float(rows["dur"].max()) / 1e6 if len(rows) else 1.0
    add_levels(fig, summary, top_ms)
    fig.update_layout(yaxis={"range": [0, 1.08 * top_ms], "nticks": 6})
    time_axis(fig, span_s)
    if rows["phase"].nunique() > 1:
        legend_above(fig)
    fig.update_layout(margin={"r": 108})
    return fig


def add_levels(fig: go.Figure, summary: StepSummary, top_ms: float) -> None:
    """Add median and 95th percentile as dotted lines; close lines share one label."""
    levels = [
        (value, words)
        for value, words in ((summary.p95_ms, "p95"), (summary.p50_ms, "median"))
        if value is not None
    ]
    labels = [(value, f"{words} {ms(value * 1e6)}") for value, words in levels]
    for value, _ in levels:
        fig.add_hline(y=value, line={"dash": "dot", "width": 1.2, "color": LIGHT.muted})
    if len(labels) == 2 and labels[0][0] - labels[1][0] < LABEL_SHARE * top_ms:
        labels = [((labels[0][0] + labels[1][0]) / 2, "<br>".join(text for _, text in labels))]
    for value, text in labels:
        fig.add_annotation(
            x=1,
            xref="paper",
            y=value,
            text=text,
            showarrow=False,
            xanchor="left",
            align="left",
            xshift=6,
        )
