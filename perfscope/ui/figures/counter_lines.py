"""Readings over time, a line a device, with the job's steps as ticks below and what is no training
shaded behind.
"""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from perfscope.analyzer.devices.job_phases import JobPhases
from perfscope.ui.figures.frame import figure, key_above, time_axis
from perfscope.ui.theme import LIGHT

MOST_POINTS = 1000
MOST_STEPS = 120
KEY_ROW = 19
DASHES = ("solid", "dash", "dot", "dashdot")
LINES = (
    "device-compute",
    "host-bound",
    "input-wait",
    "exposed-communication",
    "exposed-copy",
    "sync-wait",
    "checkpoint",
    "input_collate",
)
SHADED = {
    "evaluation": "exposed-communication",
    "warm-up": "other-idle",
    "checkpoint": "checkpoint",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One device: seconds and values, both ascending in time."""

    name: str
    at_s: Floats
    value: Floats


def counter_lines(
    lines: list[Line],
    unit: str,
    span_s: tuple[float, float],
    phases: JobPhases,
    *,
    limit: float | None = None,
    limit_name: str = "",
) -> go.Figure:
    """`limit` is drawn as a dashed line with its name."""
    fig = figure(200 + KEY_ROW * (len(lines) // 3), y_title=unit)
    for number, one in enumerate(lines):
        draw(fig, one, number, unit)
    top = max(
        [float(np.nanmax(one.value)) for one in lines if len(one.value)] + [limit or 0.0, 1e-9]
    )
    for begin, end, what in phases.stretches:
        colour = LIGHT.category[SHADED.get(what, "other-idle")]
        fig.add_vrect(
            x0=begin / 1e9,
            x1=max(end, begin + 1) / 1e9,
            fillcolor=colour,
            opacity=0.14,
            line_width=0,
            layer="below",
        )
    if len(phases.steps) <= MOST_STEPS:
        at_s = [one / 1e9 for one in phases.steps]
        ticks = {"symbol": "line-ns", "size": 5, "line": {"width": 1, "color": LIGHT.muted}}
        fig.add_scatter(
            x=at_s,
            y=[0.0] * len(at_s),
            mode="markers",
            name="steps begin",
            marker=ticks,
            hoverinfo="skip",
            meta={"category": "muted"},
        )
    if limit is not None:
        fig.add_hline(
            y=limit,
            line={"width": 1, "dash": "dash", "color": LIGHT.muted},
            annotation_text=limit_name,
            annotation_position="top right",
        )
    fig.update_yaxes(range=[0, 1.12 * top], nticks=5)
    return key_above(time_axis(fig, span_s))


def draw(fig: go.Figure, line: Line, number: int, unit: str) -> None:
    """One device's line; a reading that has no neighbour is a dot."""
    at, value = thinned(line.at_s, line.value)
    category, dots = LINES[number % len(LINES)], alone(value)
    colour = LIGHT.category[category]
    said = {"name": line.name, "meta": {"category": category}}
    said["hovertemplate"] = f"%{{x:.2f}} s: %{{y:.4g}} {unit}<extra>{line.name}</extra>"
    fig.add_scatter(
        x=at.round(3).tolist(),
        y=[None if each != each else float(f"{each:.5g}") for each in value],
        mode="lines",
        line={"width": 1.6, "color": colour, "dash": DASHES[number // len(LINES) % len(DASHES)]},
        **said,
    )
    if dots.any():
        y = [float(f"{each:.5g}") for each in value[dots]]
        marker = {"size": 4, "color": colour}
        fig.add_scatter(
            x=at[dots].round(3).tolist(),
            y=y,
            mode="markers",
            marker=marker,
            showlegend=False,
            **said,
        )


def alone(value: Floats) -> NDArray[np.bool_]:
    """Which readings have no neighbour to be joined to, and need a dot to be seen."""
    known = np.concatenate(([False], ~np.isnan(value), [False]))
    return known[1:-1] & ~known[:-2] & ~known[2:]


def thinned(at: Floats, value: Floats) -> tuple[Floats, Floats]:
    """At most about MOST_POINTS points that keep every peak: the least and the largest of each
    bucket. Breaks (NaN) stay.
    """
    if len(at) <= MOST_POINTS:
        return at, value
    breaks = np.flatnonzero(np.isnan(value))
    if len(breaks):
        solid = ~np.isnan(value)
        kept_at, kept_value = thinned(at[solid], value[solid])
        order = np.argsort(both := np.concatenate((kept_at, at[breaks])), kind="stable")
        return both[order], np.concatenate((kept_value, value[breaks]))[order]
    edges = np.linspace(0, len(at), MOST_POINTS // 2 + 1).astype(np.int64)[:-1]
    sizes = np.diff(np.append(edges, len(at)))
    low = np.array(
        [
            begin + int(np.argmin(value[begin : begin + size]))
            for begin, size in zip(edges, sizes, strict=True)
        ]
    )
    high = np.array(
        [
            begin + int(np.argmax(value[begin : begin + size]))
            for begin, size in zip(edges, sizes, strict=True)
        ]
    )
    kept = np.unique(np.concatenate((low, high)))
    return at[kept], value[kept]
