"""Counters of devices below each other on one time axis, with the steps of the job across all."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from perfscope.analyzer.devices.job_phases import JobPhases
from perfscope.ui.figures.counter_lines import (
    MOST_STEPS,
    WHOLE_HEIGHT,
    CounterLine,
    add_line,
    add_phases,
)
from perfscope.ui.figures.figure_layout import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

PANEL_PX, GAP_PX, TITLE_PX = 104, 30, 20
AXES_PX = 70 + TITLE_PX
STEP_OPACITY = 0.22


@dataclass(frozen=True)
class CounterPanel:
    """A counter of all devices. `limit` is a dashed line, None for none."""

    title: str
    unit: str
    lines: list[CounterLine]
    limit: float | None = None


def stacked_counters(
    panels: list[CounterPanel], span_s: tuple[float, float], phases: JobPhases
) -> go.Figure:
    """Return the figure, the first panel at the top."""
    plot_px = len(panels) * (PANEL_PX + GAP_PX) - GAP_PX
    fig = figure(plot_px + AXES_PX)
    for number, panel in enumerate(panels):
        top = 1 - number * (PANEL_PX + GAP_PX) / plot_px
        add_panel(fig, panel, number, (max(top - PANEL_PX / plot_px, 0.0), top))
    last = f"y{len(panels)}" if len(panels) > 1 else "y"
    fig.update_layout(xaxis={"anchor": last})
    add_phases(fig, phases)
    add_step_lines(fig, phases)
    legend_above(time_axis(fig, span_s))
    # Above the title of the first panel.
    fig.update_layout(legend={"y": 1 + TITLE_PX / plot_px}, margin={"t": 30 + TITLE_PX})
    return fig


def add_panel(
    fig: go.Figure, panel: CounterPanel, number: int, domain: tuple[float, float]
) -> None:
    """Add a counter: its axis, its lines, its limit, and its title above it."""
    name = "" if number == 0 else str(number + 1)
    before = len(fig.data)
    for at, line in enumerate(panel.lines):
        add_line(fig, line, at, panel.unit)
    for trace in fig.data[before:]:
        trace.update(yaxis=f"y{name}", legendgroup=trace.name)
        if number:
            trace.update(showlegend=False)
    highest = [float(np.nanmax(line.value)) for line in panel.lines if len(line.value)]
    top = max([*highest, panel.limit or 0.0, 1e-9])
    axis = fig.layout.yaxis.to_plotly_json() | {
        "domain": list(domain),
        "range": [0, 1.12 * top],
        "nticks": 4,
        "title": {"text": panel.unit, "standoff": 10, "font": {"size": 12}},
    }
    fig.update_layout({f"yaxis{name}": axis})
    if panel.limit is not None:
        fig.add_shape(
            type="line",
            xref="paper",
            x0=0,
            x1=1,
            yref=f"y{name}",
            y0=panel.limit,
            y1=panel.limit,
            line={"width": 1, "dash": "dash", "color": LIGHT.muted},
        )
    fig.add_annotation(
        text=panel.title, xref="paper", x=0, yref="paper", y=domain[1], showarrow=False
    )
    fig.layout.annotations[-1].update(xanchor="left", yanchor="bottom", font={"size": 12})


def add_step_lines(fig: go.Figure, phases: JobPhases) -> None:
    """Draw where steps begin, across all panels, unless they are too many to be distinguished."""
    if len(phases.steps) > MOST_STEPS:
        return
    for begin_ns in phases.steps:
        fig.add_shape(
            type="line",
            x0=begin_ns / 1e9,
            x1=begin_ns / 1e9,
            opacity=STEP_OPACITY,
            line={"width": 1, "color": LIGHT.muted},
            **WHOLE_HEIGHT,
        )
