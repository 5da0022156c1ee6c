"""The batches of a running loop: the time between them, and how many are prefetched."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.figure_layout import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

RANK_SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star")
NAMES = {
    "period": ("time between batches", "accent"),
    "wait": ("of which input wait", "input-wait"),
}
QUEUE_DEPTH = "queue_depth"
SHOWN_SHARE = 0.99
"""The axis of times ends above this share of the points, so that outliers do not flatten them."""
HEADROOM = 1.25


@dataclass(frozen=True)
class Series:
    """The points of one rank and column: seconds and values."""

    rank: int
    column: str
    x: list[float]
    y: list[float]


def beats(batch_times: pd.DataFrame) -> list[Series]:
    """Return per rank the time between batches, and the input wait where it is known, in ms.

    `batch_times` is the fact of this name.
    """
    found = []
    for rank, rows in batch_times.groupby("rank"):
        for column in NAMES:
            if column == "period" or (rows["wait"] >= 0).any():
                values = (rows[column] / 1e6).round(3).tolist()
                found.append(Series(int(str(rank)), column, request_seconds(rows), values))
    return found


def prefetch_depths(batch_times: pd.DataFrame) -> list[Series]:
    """Return per rank the prefetched batches each time the loop asks for one."""
    groups = batch_times[batch_times[QUEUE_DEPTH] >= 0].groupby("rank")
    return [
        Series(int(str(rank)), QUEUE_DEPTH, request_seconds(rows), rows[QUEUE_DEPTH].tolist())
        for rank, rows in groups
    ]


def request_seconds(rows: pd.DataFrame) -> list[float]:
    """Return when the batches were requested, in seconds."""
    found: list[float] = (rows["ts"] / 1e9).round(4).tolist()
    return found


def beat(series: list[Series], span_s: tuple[float, float]) -> go.Figure:
    """Return the time between batches, a point per batch; each rank has its symbol."""
    fig = figure(230, y_title="ms per batch")
    has_ranks = len({points.rank for points in series}) > 1
    for points in series:
        name, category = NAMES[points.column]
        name += f", rank {points.rank}" if has_ranks else ""
        fig.add_scatter(
            x=points.x,
            y=points.y,
            mode="markers",
            name=name,
            meta={"category": category},
            marker={
                "size": 5,
                "symbol": RANK_SYMBOLS[points.rank % len(RANK_SYMBOLS)],
                "color": LIGHT.category.get(category, LIGHT.accent),
                "opacity": 0.75,
            },
            hovertemplate=f"{name}: %{{y:.4g}} ms<extra></extra>",
        )
    fig.update_layout(yaxis={"range": y_range(series), "nticks": 5})
    return legend_above(time_axis(fig, span_s))


def queue(series: list[Series], span_s: tuple[float, float]) -> go.Figure:
    """Return the number of prefetched batches over time."""
    fig = figure(150, y_title="batches")
    for points in series:
        fig.add_scatter(
            x=points.x,
            y=points.y,
            mode="lines",
            name=f"rank {points.rank}",
            meta={"category": "input-wait"},
            line={"width": 1.6, "shape": "hv", "color": LIGHT.category["input-wait"]},
            hovertemplate=f"rank {points.rank}: %{{y}} prefetched<extra></extra>",
        )
    fig.update_layout(yaxis={"range": y_range(series), "nticks": 4, "tickformat": "d"})
    return time_axis(fig, span_s)


def y_range(series: list[Series]) -> list[float]:
    """Return the range of the vertical axis."""
    values = sorted(value for points in series for value in points.y)
    if not values:
        return [0.0, 1.0]
    if series[0].column == QUEUE_DEPTH:
        return [0.0, HEADROOM * max(values[-1], 1.0)]
    return [0.0, HEADROOM * max(values[int(SHOWN_SHARE * (len(values) - 1))], 1e-3)]


def with_new_points(
    drawn: dict[str, Any], series: list[Series], span_s: tuple[float, float]
) -> dict[str, Any]:
    """Return the same figure (as plain data) with newer points; a live page needs it per tick."""
    pairs = zip(drawn["data"], series, strict=True)
    data = [{**trace, "x": points.x, "y": points.y} for trace, points in pairs]
    layout = drawn["layout"]
    xaxis = {**layout["xaxis"], "range": list(span_s)}
    yaxis = {**layout["yaxis"], "range": y_range(series)}
    return {"data": data, "layout": {**layout, "xaxis": xaxis, "yaxis": yaxis}}
