"""The time budget of each step, a column each; of many steps, the mean of neighbors."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.categories import CATEGORY, CATEGORY_IDS
from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT, texture

MOST_COLUMNS, MOST_WITH_GAPS = 240, 120


def columns_for(steps: int) -> int:
    """Return how many neighboring steps share a column."""
    return max(1, -(-steps // MOST_COLUMNS))


def budget_over_steps(budget: pd.DataFrame) -> go.Figure:
    """Return the figure of one rank; `budget` are rows of the fact `time_budget`, by time."""
    together = columns_for(len(budget))
    group = np.arange(len(budget)) // together
    grouped = budget[["ts", "index", *CATEGORY_IDS]].groupby(group).mean()
    fig = figure(190, x_title="step", y_title="ms")
    first = budget.groupby(group)["index"].min()
    at = grouped["ts"] / 1e9
    for name in sorted(
        CATEGORY_IDS, key=lambda category: -float(grouped[category].to_numpy().sum())
    ):
        if not grouped[name].any():
            continue
        fig.add_bar(
            x=first,
            y=grouped[name] / 1e6,
            name=CATEGORY[name].label,
            meta={"category": name},
            marker={"color": LIGHT.category[name], "line": {"width": 0}, "pattern": hatch(name)},
            customdata=at,
            hovertemplate=(
                f"{CATEGORY[name].label}: %{{y:.4g}} ms<br>step %{{x}}, at %{{customdata:.2f}}"
                " s<extra></extra>"
            ),
        )
    top = (
        float(np.percentile(grouped[list(CATEGORY_IDS)].sum(axis=1), 99)) / 1e6
        if len(grouped)
        else 1.0
    )
    fig.update_layout(
        barmode="stack",
        bargap=0.12 if len(first) <= MOST_WITH_GAPS else 0,
        yaxis={"range": [0, 1.15 * top], "nticks": 5},
    )
    if len(first):
        fig.update_xaxes(
            range=[float(first.iloc[0]) - together / 2, float(first.iloc[-1]) + together / 2]
        )
    return fig


def hatch(name: str) -> dict[str, object]:
    """Return the texture of a category as the pattern of a bar."""
    overlaid: dict[str, object] = {"fillmode": "overlay", "size": 6}
    textures = {
        "wait": {"shape": "/", "fgcolor": "#ffffff", "fgopacity": 0.3, "solidity": 0.3, **overlaid},
        "undivided": {
            "shape": ".",
            "fgcolor": "#000000",
            "fgopacity": 0.22,
            "solidity": 0.22,
            **overlaid,
        },
    }
    return textures.get(texture(name), {"shape": ""})
