"""Counters over time: a line per device, on a background of the job's steps and phases."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from perfscope.analyzer.devices.job_phases import JobPhases
from perfscope.ui.figures.figure_layout import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

MOST_POINTS = 1000
MOST_STEPS = 120
KEY_ROW = 19
LINES_PER_KEY_ROW = 3
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
WHOLE_HEIGHT = {"yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
"""The place of a shape that is behind the lines, from the bottom to the top of a figure."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CounterLine:
    """The readings of a device: seconds and values, in order of time; NaN breaks the line."""

    name: str
    at_s: Floats
    value: Floats


def counter_lines(
    lines: list[CounterLine],
    unit: str,
    span_s: tuple[float, float],
    phases: JobPhases,
    *,
    limit: float | None = None,
    limit_name: str = "",
) -> go.Figure:
    """Return the figure; `limit` is a dashed line with its name."""
    fig = figure(200 + KEY_ROW * (len(lines) // LINES_PER_KEY_ROW), y_title=unit)
    for number, line in enumerate(lines):
        add_line(fig, line, number, unit)
    add_phases(fig, phases)
    add_step_marks(fig, phases)
    if limit is not None:
        fig.add_hline(
            y=limit,
            line={"width": 1, "dash": "dash", "color": LIGHT.muted},
            annotation_text=limit_name,
            annotation_position="top right",
        )
    highest = [float(np.nanmax(line.value)) for line in lines if len(line.value)]
    top = max([*highest, limit or 0.0, 1e-9])
    fig.update_yaxes(range=[0, 1.12 * top], nticks=5)
    return legend_above(time_axis(fig, span_s))


def add_phases(fig: go.Figure, phases: JobPhases) -> None:
    """Shade the phases other than training, over the whole height of the figure."""
    for begin_ns, end_ns, phase in phases.stretches:
        fig.add_shape(
            type="rect",
            x0=begin_ns / 1e9,
            x1=max(end_ns, begin_ns + 1) / 1e9,
            fillcolor=LIGHT.category[SHADED.get(phase, "other-idle")],
            opacity=0.14,
            line={"width": 0},
            **WHOLE_HEIGHT,
        )


def add_step_marks(fig: go.Figure, phases: JobPhases) -> None:
    """Mark where steps begin, unless they are too many to be distinguished."""
    if len(phases.steps) > MOST_STEPS:
        return
    seconds = [begin_ns / 1e9 for begin_ns in phases.steps]
    fig.add_scatter(
        x=seconds,
        y=[0.0] * len(seconds),
        mode="markers",
        name="steps begin",
        marker={"symbol": "line-ns", "size": 5, "line": {"width": 1, "color": LIGHT.muted}},
        hoverinfo="skip",
        meta={"category": "muted"},
    )


def add_line(fig: go.Figure, line: CounterLine, number: int, unit: str) -> None:
    """Add the line of a device; a reading without neighbors is a dot."""
    seconds, values = thinned_line(line.at_s, line.value)
    category = LINES[number % len(LINES)]
    color = LIGHT.category[category]
    common: dict[str, Any] = {
        "name": line.name,
        "meta": {"category": category},
        "hovertemplate": f"%{{x:.2f}} s: %{{y:.4g}} {unit}<extra>{line.name}</extra>",
    }
    dash = DASHES[number // len(LINES) % len(DASHES)]
    fig.add_scatter(
        x=seconds.round(3).tolist(),
        y=[None if np.isnan(value) else five_digits(value) for value in values],
        mode="lines",
        line={"width": 1.6, "color": color, "dash": dash},
        **common,
    )
    is_dot = isolated_readings(values)
    if is_dot.any():
        fig.add_scatter(
            x=seconds[is_dot].round(3).tolist(),
            y=[five_digits(value) for value in values[is_dot]],
            mode="markers",
            marker={"size": 4, "color": color},
            showlegend=False,
            **common,
        )


def five_digits(value: float) -> float:
    """Return the value with five significant digits, which keeps files small."""
    return float(f"{value:.5g}")


def isolated_readings(values: Floats) -> NDArray[np.bool_]:
    """Return which readings have no neighbor, so that a line does not show them."""
    known = np.concatenate(([False], ~np.isnan(values), [False]))
    return known[1:-1] & ~known[:-2] & ~known[2:]


def thinned_line(seconds: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return about MOST_POINTS points with every peak: the extremes of each bucket.

    Breaks (NaN) stay.
    """
    if len(seconds) <= MOST_POINTS:
        return seconds, values
    is_break = np.isnan(values)
    if is_break.any():
        kept_seconds, kept_values = thinned_line(seconds[~is_break], values[~is_break])
        all_seconds = np.concatenate((kept_seconds, seconds[is_break]))
        all_values = np.concatenate((kept_values, values[is_break]))
        order = np.argsort(all_seconds, kind="stable")
        return all_seconds[order], all_values[order]
    begins = np.linspace(0, len(seconds), MOST_POINTS // 2 + 1).astype(np.int64)[:-1]
    ends = np.append(begins[1:], len(seconds))
    buckets = list(zip(begins.tolist(), ends.tolist(), strict=True))
    lowest = [begin + int(values[begin:end].argmin()) for begin, end in buckets]
    highest = [begin + int(values[begin:end].argmax()) for begin, end in buckets]
    kept = np.unique(lowest + highest)
    return seconds[kept], values[kept]
