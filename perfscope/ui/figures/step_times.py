"""How long each step took, by phase."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

MOST_POINTS = 4000
PHASES = {"train": "accent", "inference": "accent", "eval": "sync_wait", "warmup": "other_idle"}


def step_times(steps: pd.DataFrame) -> go.Figure:
    """`steps`: rows of the fact steps of one rank. Beyond 4,000 the slowest of each group of neighbours stands for it."""
    together = max(1, -(-len(steps) // MOST_POINTS))
    rows = (
        steps.sort_values("dur").groupby(steps["index"] // together).tail(1).sort_values("ts")
        if together > 1
        else steps
    )
    fig = figure(200, x_title="seconds into the recording", y_title="ms per step")
    for phase, category in PHASES.items():
        of_phase = rows[rows["phase"] == phase]
        if not len(of_phase):
            continue
        fig.add_scattergl(
            x=of_phase["ts"] / 1e9,
            y=of_phase["dur"] / 1e6,
            mode="markers",
            name=phase,
            meta={"category": category},
            marker={"size": 4, "color": LIGHT.category.get(category, LIGHT.accent), "opacity": 0.75},
            hovertemplate=f"{phase} step %{{customdata}}<br>%{{y:.2f}} ms at %{{x:.2f}} s<extra></extra>",
            customdata=of_phase["index"],
        )
    fig.update_layout(yaxis={"rangemode": "tozero"})
    return fig
