"""The time to make one batch: by code, and by what it waits for."""

import plotly.graph_objects as go

from perfscope.analyzer.input.input_pipeline import Fetch
from perfscope.analyzer.number_text import ms
from perfscope.ui.figures.figure_layout import figure, legend_above
from perfscope.ui.theme import LIGHT

CODE, WAITS = "by code", "by wait"
PARTS = (
    (CODE, "dataset", "dataset (reading, decoding)", "input_dataset"),
    (CODE, "collate", "collate", "input_collate"),
    (WAITS, "cpu", "on a core", "compute-or-host"),
    (WAITS, "run_delay", "waiting for a core", "host-bound"),
    (WAITS, "io", "waiting for storage", "sync-wait"),
    (WAITS, "waiting", "other waiting (network, locks, sleep)", "other-idle"),
)


def fetch_split(fetch: Fetch) -> go.Figure:
    """Return two bars of the same length: a fetch by code, and by what it waits for."""
    fig = figure(190, x_title="ms per batch")
    for row, field, name, category in PARTS:
        value = getattr(fetch, field) / 1e6
        fig.add_bar(
            orientation="h",
            y=[row],
            x=[round(value, 4)],
            name=f"{name} {ms(value * 1e6)}",
            meta={"category": category},
            marker={"color": LIGHT.category[category], "line": {"width": 0}},
            hovertemplate=f"{name}: %{{x:.4g}} ms<extra></extra>",
        )
    fig.update_layout(barmode="stack", bargap=0.3, margin={"l": 100})
    fig.update_yaxes(categoryorder="array", categoryarray=[WAITS, CODE], showgrid=False)
    fig.update_layout(legend={"traceorder": "normal"})
    return legend_above(fig)
