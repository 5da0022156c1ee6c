"""Stack samples as an icicle: callers above, callees below, width by time."""

import plotly.graph_objects as go

from perfscope.analyzer.run.stacks.stack_tree import Node
from perfscope.traces.frames import parse_frame
from perfscope.ui.figures.figure_layout import figure
from perfscope.ui.theme import LIGHT

SMALLEST_SHARE = 0.004
DEEPEST = 32
ROW_HEIGHT = 21
SAME_SHARE = 0.97
SHORTEST_TRUNK = 4
FEWEST_ROWS = 6
KINDS = {"torch": "#a9cdbd", "user": "#f3cf94", "library": "#c3cad6"}
"""Fills with enough contrast for dark text in both themes; the chart's note explains them."""


def stack_icicle(nodes: list[Node]) -> go.Figure:
    """Return the figure of one role; `nodes` are those of the fact `stack_tree`.

    Frames below 0.4 % of the time are left out. Frames that all samples share (the interpreter's
    start, a worker's fork) are folded into the last of them.
    """
    whole = sum(node.weight_s for node in nodes if not node.parent)
    trunk = trunk_of(nodes, whole)
    deepest = max((node.path.count(";") + 1 for node in nodes), default=0)
    folded = (
        trunk[: min(len(trunk) - 1, max(deepest - FEWEST_ROWS, 0))]
        if len(trunk) >= SHORTEST_TRUNK
        else []
    )
    top = trunk[len(folded)].path if folded else ""
    gone = {node.path for node in folded}
    kept = [
        node
        for node in nodes
        if node.weight_s >= SMALLEST_SHARE * whole
        and node.path not in gone
        and node.path.startswith(top)
        and node.path.count(";") - len(folded) < DEEPEST
    ]
    numbers = {node.path: str(at) for at, node in enumerate(kept)}
    depth = 1 + max((node.path.count(";") - len(folded) for node in kept), default=0)
    above = f"{len(folded)} callers, " if folded else ""
    labels = [
        (above if folded and node.path == top else "") + escaped_frame(node.frame) for node in kept
    ]
    tops = sum(node.parent not in numbers for node in kept)
    fig = figure(
        12 + ROW_HEIGHT * (depth + (tops > 1))
    )  # several tops get a row of their own above them
    fig.add_icicle(
        ids=[numbers[node.path] for node in kept],
        labels=labels,
        text=labels,
        parents=[numbers.get(node.parent, "") for node in kept],
        values=[node.weight_s for node in kept],
        customdata=[100 * node.weight_s / whole for node in kept],
        branchvalues="total",
        tiling={"orientation": "v", "pad": 1},
        marker={"colors": [KINDS[kind(node.frame)] for node in kept], "line": {"width": 0}},
        leaf={"opacity": 1},
        textposition="middle left",
        textfont={"size": 11, "color": "#14181f"},
        texttemplate="%{text}",
        hovertemplate="%{label}<br>%{value:.2f} s, %{customdata:.1f} %<extra></extra>",
        pathbar={"visible": False},
        root={"color": LIGHT.line},
        sort=False,
    )
    fig.update_layout(
        margin={"l": 0, "r": 0, "t": 4, "b": 4}, uniformtext={"minsize": 9, "mode": "hide"}
    )
    return fig


def trunk_of(nodes: list[Node], whole: float) -> list[Node]:
    """Return the outermost frames that (nearly) all samples share."""
    trunk: list[Node] = []
    for node in nodes:  # callers come before callees
        if node.parent == (trunk[-1].path if trunk else "") and node.weight_s >= SAME_SHARE * whole:
            trunk.append(node)
    return trunk


def escaped_frame(frame: str) -> str:
    """Return a frame's name with HTML escaped; plotly interprets some of it."""
    return str(parse_frame(frame)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def kind(label: str) -> str:
    """Return the owner of a frame: torch, a library (installed or standard), or the user."""
    frame = parse_frame(label)
    if frame.is_of_torch:
        return "torch"
    return "user" if frame.is_of_program else "library"
