"""Stack samples as an icicle: callers above, callees below, width by time."""

import plotly.graph_objects as go

from perfscope.analyzer.facts.stack_tree import Node
from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

SMALLEST_SHARE = 0.004
DEEPEST = 40
ROW_HEIGHT = 20


def stack_icicle(nodes: list[Node]) -> go.Figure:
    """`nodes` of one role from the fact stack_tree; what is narrower than 0.4 % of the whole is left out."""
    whole = sum(node.weight_s for node in nodes if not node.parent)
    kept = [node for node in nodes if node.weight_s >= SMALLEST_SHARE * whole and node.path.count(";") < DEEPEST]
    depth = 1 + max((node.path.count(";") for node in kept), default=0)
    fig = figure(min(40 + ROW_HEIGHT * depth, 620))
    numbers = {node.path: str(at) for at, node in enumerate(kept)}
    fig.add_icicle(
        ids=[numbers[node.path] for node in kept],
        labels=[plain(node.frame) for node in kept],
        parents=[numbers.get(node.parent, "") for node in kept],
        values=[node.weight_s for node in kept],
        customdata=[100 * node.weight_s / whole for node in kept],
        branchvalues="total",
        tiling={"orientation": "v", "pad": 1},
        marker={"colors": [shade(node.frame) for node in kept], "line": {"width": 0}},
        textfont={"size": 11, "color": "#14181f"},
        texttemplate="%{label}",
        hovertemplate="%{label}<br>%{value:.2f} s, %{customdata:.1f} %<extra></extra>",
        pathbar={"visible": False},
        sort=False,
    )
    fig.update_layout(margin={"l": 0, "r": 0, "t": 4, "b": 4}, uniformtext={"minsize": 10, "mode": "hide"})
    return fig


def plain(frame: str) -> str:
    """A frame's name may hold anything; plotly reads some of HTML."""
    return frame.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shade(frame: str) -> str:
    """Torch's frames and the user's are told apart."""
    return "#a9cdbd" if "(torch/" in frame else "#f3cf94" if "site-packages" not in frame else LIGHT.line
