"""One counter over time: a line a role, summed over the processes of that role."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

COLOURS = {"main": "host_bound", "loader-worker": "input_wait", "launcher": "other_idle", "other": "other_idle"}
NAMES = {
    "main": "training process",
    "loader-worker": "loader workers",
    "launcher": "launcher",
    "other": "other processes",
}


def usage(rows: pd.DataFrame, name: str, title: str, *, scale: float = 1.0, limit: float | None = None) -> go.Figure:
    """`rows` of the fact usage_over_time; `limit` is drawn as a line (usable cores, memory limit)."""
    fig = figure(170, x_title="seconds into the recording", y_title=title)
    of_name = rows[rows["name"] == name]
    for role, part in of_name.groupby("role"):
        second = (part["ts"] // 1_000_000_000).rename("second")
        per_process = part.groupby([second, "process"])["value"].mean()
        total = per_process.groupby("second").sum()
        category = COLOURS.get(str(role), "other_idle")
        fig.add_scatter(
            x=total.index + 0.5,
            y=total * scale,
            mode="lines",
            name=NAMES.get(str(role), str(role)),
            meta={"category": category},
            line={"width": 2, "color": LIGHT.category[category]},
            hovertemplate=f"{NAMES.get(str(role), str(role))}: %{{y:.3g}}<extra></extra>",
        )
    if limit is not None and len(of_name):
        fig.add_hline(y=limit * scale, line={"dash": "dot", "width": 1, "color": LIGHT.muted})
    fig.update_layout(yaxis={"rangemode": "tozero"}, showlegend=True, hovermode="x unified")
    fig.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}, margin={"t": 28})
    return fig
