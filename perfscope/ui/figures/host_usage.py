"""The use of the host over time, from the fact `usage_by_role`."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.figure_layout import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

FAR_AWAY = 2.5
"""A limit above the highest reading times this factor is not drawn: it would flatten the lines."""


@dataclass(frozen=True)
class UsageLine:
    """A line: its counter and role, its name, and the category whose color it has."""

    counter: str
    role: str
    name: str
    category: str


BY_ROLE = (
    ("main", "training process", "host-bound"),
    ("loader-worker", "loader workers", "input-wait"),
    ("launcher", "launcher", "checkpoint"),
    ("other", "other processes", "exposed-communication"),
)


def of_each_role(counter: str) -> list[UsageLine]:
    """Return a line of the counter for each role of a process."""
    return [UsageLine(counter, role, name, category) for role, name, category in BY_ROLE]


def usage(
    rows: pd.DataFrame,
    lines: list[UsageLine],
    unit: str,
    span_s: tuple[float, float],
    *,
    scale: float = 1.0,
    least: float = 1.0,
    limit: float | None = None,
) -> go.Figure:
    """Return the figure; its axis reaches at least to `least`.

    `limit`, in the counter's unit, is a dotted line.
    """
    fig = figure(190, y_title=unit)
    highest = least
    for line in lines:
        part = rows[(rows["name"] == line.counter) & (rows["role"] == line.role)].sort_values("ts")
        if not len(part):
            continue
        values = part["value"] * scale
        highest = max(highest, float(values.max()))
        fig.add_scatter(
            x=(part["ts"] / 1e9).round(4).tolist(),
            y=values.astype(float).tolist(),
            mode="lines",
            name=line.name,
            meta={"category": line.category},
            line={"width": 2, "color": LIGHT.category[line.category]},
            hovertemplate=f"%{{y:.3g}} {unit}<extra>{line.name}</extra>",
        )
    if limit is not None and limit * scale <= FAR_AWAY * highest:
        highest = max(highest, limit * scale)
        fig.add_hline(y=limit * scale, line={"dash": "dot", "width": 1.5, "color": LIGHT.muted})
    time_axis(fig, span_s)
    fig.update_layout(yaxis={"range": [0, 1.12 * highest], "nticks": 5}, hovermode="x")
    return legend_above(fig)
