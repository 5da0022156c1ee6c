"""An allocator over time: what tensors use, and what is reserved for them."""

from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from perfscope.analyzer.memory.allocator import Allocator
from perfscope.ui.figures.frame import figure, key_above, time_axis
from perfscope.ui.theme import LIGHT

MOST_BUCKETS = 500


def allocator_lines(one: Allocator) -> go.Figure:
    """Thinned to the least and the most of some 500 stretches."""
    fig = figure(230, y_title="GB" if one.peak_bytes >= 1e8 else "MB")
    unit = 1e9 if one.peak_bytes >= 1e8 else 1e6
    kept = thinned(one.allocated)
    seconds = one.ts[kept] / 1e9
    lines = [("in use", one.allocated, "device-compute"), ("reserved", one.reserved, "peer-wait")]
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
    top = max(int(one.allocated.max()), int(one.reserved.max())) / unit
    fig.update_layout(yaxis={"range": [0, 1.12 * max(top, 1e-6)], "nticks": 5}, hovermode="x")
    return key_above(
        time_axis(
            fig,
            (float(one.ts[0]) / 1e9, max(float(one.ts[-1]) / 1e9, float(one.ts[0]) / 1e9 + 1e-6)),
        )
    )


def thinned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the least and the largest value of each bucket, in order."""
    if len(values) <= 2 * MOST_BUCKETS:
        return np.arange(len(values), dtype=np.int64)
    edges = np.linspace(0, len(values), MOST_BUCKETS + 1).astype(np.int64)
    pairs = [
        (a + int(values[a:b].argmin()), a + int(values[a:b].argmax())) for a, b in pairwise(edges)
    ]
    return np.unique(np.array(pairs, np.int64))
