"""The time budget of each step, a column each; of many steps, the mean of neighbors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.categories import CATEGORY, CATEGORY_IDS
from perfscope.ui.figures.frame import figure, time_axis
from perfscope.ui.theme import LIGHT, texture

NS_PER_MS, NS_PER_S = 1e6, 1e9
MOST_COLUMNS = 240
LABEL_HEIGHT = 20
NEAR_EDGE = 0.1
"""A label in the first or last tenth of the axis begins or ends at its gap."""


@dataclass(frozen=True)
class ChartGap:
    """An interval of a chart without columns, in seconds, and the label that explains it."""

    begin_s: float
    end_s: float
    label: str


def columns_for(steps: int) -> int:
    """Return how many neighboring steps share a column."""
    return max(1, -(-steps // MOST_COLUMNS))


def budget_over_steps(
    budget: pd.DataFrame, span_s: tuple[float, float], gaps: Sequence[ChartGap] = ()
) -> go.Figure:
    """Return the figure of one rank; `budget` are rows of the fact `time_budget`, by time."""
    columns = column_table(budget, gaps)
    fig = figure(190 + (LABEL_HEIGHT if gaps else 0), y_title="ms per step")
    for name in sorted(
        CATEGORY_IDS, key=lambda category: -float(columns[category].to_numpy().sum())
    ):
        if columns[name].any():
            add_category(fig, columns, name)
    totals_ms = columns[list(CATEGORY_IDS)].sum(axis=1) / NS_PER_MS
    top_ms = float(np.percentile(totals_ms, 99)) if len(columns) else 1.0
    fig.update_layout(barmode="stack", yaxis={"range": [0, 1.15 * top_ms], "nticks": 5})
    add_gap_labels(fig, gaps, span_s)
    return time_axis(fig, span_s)


def column_table(budget: pd.DataFrame, gaps: Sequence[ChartGap]) -> pd.DataFrame:
    """Return a row per column: the mean of its steps, their first index, its begin and end in s.

    No column has steps from both sides of a gap.
    """
    begin_s = budget["ts"].to_numpy(float) / NS_PER_S
    end_s = begin_s + (budget["dur"] + budget["cut"]).to_numpy(float) / NS_PER_S
    gap_begins_s = np.array(sorted(gap.begin_s for gap in gaps))
    block = np.searchsorted(gap_begins_s, begin_s, side="right")
    column = np.arange(len(budget)) // columns_for(len(budget))
    grouped = budget.assign(begin_s=begin_s, end_s=end_s).groupby([block, column])
    means = grouped[list(CATEGORY_IDS)].mean()
    bounds = grouped.agg(first=("index", "min"), begin_s=("begin_s", "min"), end_s=("end_s", "max"))
    return means.join(bounds).reset_index(drop=True)


def add_category(fig: go.Figure, columns: pd.DataFrame, name: str) -> None:
    """Add a category's part of every column."""
    label = CATEGORY[name].label
    fig.add_bar(
        x=(columns["begin_s"] + columns["end_s"]) / 2,
        width=columns["end_s"] - columns["begin_s"],
        y=columns[name] / NS_PER_MS,
        name=label,
        meta={"category": name},
        marker={"color": LIGHT.category[name], "line": {"width": 0}, "pattern": hatch(name)},
        customdata=columns[["first", "begin_s"]],
        hovertemplate=(
            f"{label}: %{{y:.4g}} ms<br>step %{{customdata[0]}}, at %{{customdata[1]:.2f}}"
            " s<extra></extra>"
        ),
    )


def add_gap_labels(fig: go.Figure, gaps: Sequence[ChartGap], span_s: tuple[float, float]) -> None:
    """Add the label of each gap above the plot."""
    if gaps:
        fig.update_layout(margin={"t": LABEL_HEIGHT + 8})
    begin_s, end_s = span_s
    for gap in gaps:
        middle_s = (gap.begin_s + gap.end_s) / 2
        place = (middle_s - begin_s) / max(end_s - begin_s, 1e-9)
        anchor = "left" if place < NEAR_EDGE else "right" if place > 1 - NEAR_EDGE else "center"
        fig.add_annotation(
            x=middle_s,
            y=1,
            yref="paper",
            text=gap.label,
            showarrow=False,
            xanchor=anchor,
            yanchor="bottom",
        )


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
