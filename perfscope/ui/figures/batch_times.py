"""The batches of a running loop: the time between them, and how many are prefetched."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.frame import figure, key_above, time_axis
from perfscope.ui.theme import LIGHT

RANK_SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star")
NAMES = {
    "period": ("time between batches", "accent"),
    "wait": ("of which input wait", "input-wait"),
}


@dataclass(frozen=True)
class Series:
    """The points of one trace: seconds and values."""

    rank: int
    column: str
    x: list[float]
    y: list[float]


def beats(batch_times: pd.DataFrame) -> list[Series]:
    """`batch_times`: the fact of this name. Per rank what a batch took, and of it the wait where
    that is known; ms.
    """
    found = []
    for rank, rows in batch_times.groupby("rank"):
        for column in ("period", "wait"):
            if column == "period" or (rows["wait"] >= 0).any():
                values = (rows[column] / 1e6).round(3).tolist()
                found.append(Series(int(str(rank)), column, seconds(rows), values))
    return found


def depths(batch_times: pd.DataFrame) -> list[Series]:
    """Per rank the batches that lay ready when the loop asked for one."""
    groups = batch_times[batch_times["queue_depth"] >= 0].groupby("rank")
    return [
        Series(int(str(rank)), "queue_depth", seconds(rows), rows["queue_depth"].tolist())
        for rank, rows in groups
    ]


def seconds(rows: pd.DataFrame) -> list[float]:
    found: list[float] = (rows["ts"] / 1e9).round(4).tolist()
    return found


def beat(series: list[Series], span_s: tuple[float, float]) -> go.Figure:
    """Return the time between batches, a point per batch; each rank has its symbol."""
    fig = figure(230, y_title="ms per batch")
    several = len({one.rank for one in series}) > 1
    for one in series:
        of = f", rank {one.rank}" if several else ""
        name, category = NAMES[one.column]
        mark = RANK_SYMBOLS[one.rank % len(RANK_SYMBOLS)]
        fig.add_scatter(
            x=one.x,
            y=one.y,
            mode="markers",
            name=name + of,
            meta={"category": category},
            marker={
                "size": 5,
                "symbol": mark,
                "color": LIGHT.category.get(category, LIGHT.accent),
                "opacity": 0.75,
            },
            hovertemplate=f"{name}{of}: %{{y:.4g}} ms<extra></extra>",
        )
    fig.update_layout(yaxis={"range": top_of(series), "nticks": 5})
    return key_above(time_axis(fig, span_s))


def queue(series: list[Series], span_s: tuple[float, float]) -> go.Figure:
    """Return the number of prefetched batches over time."""
    fig = figure(150, y_title="batches")
    for one in series:
        fig.add_scatter(
            x=one.x,
            y=one.y,
            mode="lines",
            name=f"rank {one.rank}",
            meta={"category": "input-wait"},
            line={"width": 1.6, "shape": "hv", "color": LIGHT.category["input-wait"]},
            hovertemplate=f"rank {one.rank}: %{{y}} prefetched<extra></extra>",
        )
    fig.update_layout(yaxis={"range": top_of(series), "nticks": 4})
    return time_axis(fig, span_s)


def top_of(series: list[Series]) -> list[float]:
    """The range of the axis: of times one outlier in a hundred does not press the rest flat."""
    values = sorted(value for one in series for value in one.y)
    if not values:
        return [0.0, 1.0]
    counts = series[0].column == "queue_depth"
    return [
        0.0,
        1.25 * max(values[-1], 1.0)
        if counts
        else 1.25 * max(values[int(0.99 * (len(values) - 1))], 1e-3),
    ]


def moved(
    drawn: dict[str, Any], series: list[Series], span_s: tuple[float, float]
) -> dict[str, Any]:
    """The same figure (as plain data) with newer points: what a running page needs twice a
    second.
    """
    points = [
        {**trace, "x": one.x, "y": one.y} for trace, one in zip(drawn["data"], series, strict=True)
    ]
    layout = drawn["layout"]
    xaxis, yaxis = (
        {**layout["xaxis"], "range": list(span_s)},
        {**layout["yaxis"], "range": top_of(series)},
    )
    return {"data": points, "layout": {**layout, "xaxis": xaxis, "yaxis": yaxis}}
