"""An allocator over time: the memory of tensors, and what is reserved."""

from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from perfscope.analyzer.memory.allocator import Allocator
from perfscope.ui.figures.frame import figure, legend_above, time_axis
from perfscope.ui.theme import LIGHT

MOST_BUCKETS = 500
SHOWN_IN_GB = 1e8
"""From this peak on, in bytes, the axis is in GB."""


def allocator_lines(allocator: Allocator) -> go.Figure:
    """Return the figure, thinned to the lowest and the highest value of about 500 intervals."""
    is_large = allocator.peak_bytes >= SHOWN_IN_GB
    unit = 1e9 if is_large else 1e6
    fig = figure(230, y_title="GB" if is_large else "MB")
    kept = extreme_positions(allocator.allocated)
    seconds = allocator.ts[kept] / 1e9
    lines = (
        ("in use", allocator.allocated, "device-compute"),
        ("reserved", allocator.reserved, "peer-wait"),
    )
    for name, values, category in lines:
        if (values < 0).all():
            continue
        fig.add_scatter(
            x=seconds.round(6).tolist(),
            y=(values[kept] / unit).round(6).tolist(),
            mode="lines",
            name=name,
            meta={"category": category},
            line={"width": 1.8, "shape": "hv", "color": LIGHT.category[category]},
            hovertemplate="%{y:.4g}<extra>" + name + "</extra>",
        )
    top = max(int(allocator.allocated.max()), int(allocator.reserved.max())) / unit
    fig.update_layout(yaxis={"range": [0, 1.12 * max(top, 1e-6)], "nticks": 5}, hovermode="x")
    begin_s, end_s = float(allocator.ts[0]) / 1e9, float(allocator.ts[-1]) / 1e9
    return legend_above(time_axis(fig, (begin_s, max(end_s, begin_s + 1e-6))))


def extreme_positions(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the lowest and the highest value of each bucket, in order."""
    if len(values) <= 2 * MOST_BUCKETS:
        return np.arange(len(values), dtype=np.int64)
    edges = np.linspace(0, len(values), MOST_BUCKETS + 1).astype(np.int64)
    pairs = [
        (begin + int(values[begin:end].argmin()), begin + int(values[begin:end].argmax()))
        for begin, end in pairwise(edges)
    ]
    return np.unique(np.array(pairs, np.int64))
