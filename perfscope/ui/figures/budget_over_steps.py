"""The time budget of each step, one column a step; over a few hundred steps, the mean of neighbours."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.facts.time_budget import CATEGORIES
from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LABELS, LIGHT, WAITS

MOST_COLUMNS = 300


def budget_over_steps(budget: pd.DataFrame) -> go.Figure:
    """`budget`: rows of the fact time_budget of one rank, in time order."""
    together = max(1, -(-len(budget) // MOST_COLUMNS))
    group = np.arange(len(budget)) // together
    grouped = budget[["ts", *CATEGORIES]].groupby(group).mean()
    unit = "step" if together == 1 else f"mean of {together} steps"
    fig = figure(220, x_title="seconds into the recording", y_title="ms per step")
    at = grouped["ts"] / 1e9
    width = np.diff(at, append=at.iloc[-1] + (at.iloc[-1] - at.iloc[0]) / max(len(at) - 1, 1) if len(at) else 0.0)
    order = sorted(CATEGORIES, key=lambda name: -float(grouped[name].to_numpy().sum()))
    for name in order:
        if not grouped[name].any():
            continue
        fig.add_bar(
            x=at,
            y=grouped[name] / 1e6,
            width=width,
            offset=0,
            name=LABELS[name],
            meta={"category": name},
            marker={"color": LIGHT.category[name], "line": {"width": 0}, "pattern": hatch(name)},
            hovertemplate=f"{LABELS[name]}: %{{y:.2f}} ms<br>{unit} at %{{x:.2f}} s<extra></extra>",
        )
    top = float(np.percentile(grouped[list(CATEGORIES)].sum(axis=1), 99)) / 1e6 if len(grouped) else 1.0
    fig.update_layout(barmode="stack", yaxis={"range": [0, 1.15 * top]})
    return fig


def hatch(name: str) -> dict[str, object]:
    """Waits are hatched as well as coloured."""
    return {"shape": "/" if name in WAITS else "", "fillmode": "overlay", "fgopacity": 0.25, "size": 5}
