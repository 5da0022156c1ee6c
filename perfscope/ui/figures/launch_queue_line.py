"""The number of kernels that are launched and have not started; at zero the device waits."""

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.allocator_lines import extreme_positions
from perfscope.ui.figures.frame import figure, time_axis
from perfscope.ui.theme import LIGHT


def launch_queue_line(queue: pd.DataFrame) -> go.Figure:
    """Return the figure of one device; `queue` are rows of the fact `launch_queue`.

    It is thinned to the lowest and the highest value of about 500 intervals.
    """
    fig = figure(170, y_title="kernels")
    depth = queue["depth"].to_numpy()
    kept = extreme_positions(depth)
    seconds = queue["ts"].to_numpy()[kept] / 1e9
    fig.add_scatter(
        x=seconds.round(6).tolist(),
        y=depth[kept].tolist(),
        mode="lines",
        meta={"category": "host-bound"},
        line={"width": 1.4, "shape": "hv", "color": LIGHT.category["host-bound"]},
        hovertemplate="%{y} launched, not started<extra></extra>",
    )
    fig.update_layout(yaxis={"range": [0, 1.12 * max(int(depth.max()), 1)], "nticks": 4})
    return time_axis(fig, (float(seconds[0]), max(float(seconds[-1]), float(seconds[0]) + 1e-6)))
