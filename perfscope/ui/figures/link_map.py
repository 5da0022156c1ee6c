"""The links of one host drawn: devices in a row, switches above, processors and network ports
below; fuller links are darker.
"""

import plotly.graph_objects as go

from perfscope.analyzer.devices.link_map import DEVICE, NODE, PORT, SWITCH, LinkEndpoint, LinkMap
from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

HEIGHTS = {SWITCH: 2.0, DEVICE: 1.0, NODE: 0.0, PORT: -0.8}
SYMBOLS = {SWITCH: "diamond", DEVICE: "square", NODE: "circle", PORT: "triangle-up"}
MOST_LABELS = 10
FAINTEST = 0.25


def link_map(of: LinkMap) -> go.Figure:
    """Hover an end or the middle of a link for what it is."""
    places = placed(of.knots)
    fig = figure(90 + 70 * len({one.kind for one in of.knots}))
    for edge in of.edges:
        if edge.first not in places or edge.second not in places:
            continue
        (x0, y0), (x1, y1) = places[edge.first], places[edge.second]
        middle = ((x0 + x1) / 2, (y0 + y1) / 2 + (0.35 * abs(x1 - x0) ** 0.5 if y0 == y1 else 0.0))
        nearby = HEIGHTS[PORT] in (y0, y1)
        strength = FAINTEST + (1 - FAINTEST) * min(edge.share or 0.0, 1.0)
        category = (
            "exposed-communication" if max(y0, y1) > HEIGHTS[DEVICE] or y0 == y1 else "exposed-copy"
        )
        fig.add_scatter(
            x=[x0, middle[0], x1],
            y=[y0, middle[1], y1],
            mode="lines",
            opacity=strength,
            meta={"category": category},
            line={
                "width": min(1.0 + edge.links / 3.0, 8.0),
                "color": LIGHT.category[category],
                "shape": "spline",
                "dash": "dot" if nearby else "solid",
            },
            text=[f"{edge.first} to {edge.second}: {edge.text}"] * 3,
            hovertemplate="%{text}<extra></extra>",
        )
    for kind in SYMBOLS:
        for used in (True, False):
            ends(fig, [one for one in of.knots if one.kind == kind and one.used is used], places)
    fig.update_xaxes(visible=False)
    heights = [height for _, height in places.values()]
    fig.update_yaxes(visible=False, range=[min(heights) - 0.55, max(heights) + 0.5])
    fig.update_layout(margin={"l": 20, "r": 20, "t": 8, "b": 8}, dragmode=False)
    return fig


def ends(fig: go.Figure, own: list[LinkEndpoint], places: dict[str, tuple[float, float]]) -> None:
    """The ends of links that are alike; devices that the job does not use are grey."""
    if not own:
        return
    kind = own[0].kind
    grey = kind == DEVICE and not own[0].used
    fig.add_scatter(
        x=[places[one.name][0] for one in own],
        y=[places[one.name][1] for one in own],
        mode="markers+text",
        text=[one.name if kind != SWITCH else one.text for one in own],
        textposition="top center" if kind == SWITCH else "bottom center",
        customdata=[f"{one.name}: {one.text}" for one in own],
        hovertemplate="%{customdata}<extra></extra>",
        meta={"category": "muted" if grey else "accent"},
        marker={
            "symbol": SYMBOLS[kind],
            "size": 18 if len(places) <= MOST_LABELS else 13,
            "color": LIGHT.muted if grey else LIGHT.accent,
        },
    )


def placed(knots: list[LinkEndpoint]) -> dict[str, tuple[float, float]]:
    """Each kind in its own row, spread evenly over the same width."""
    found = {}
    for kind, height in HEIGHTS.items():
        own = [one.name for one in knots if one.kind == kind]
        for at, name in enumerate(own):
            found[name] = ((at + 0.5) / len(own), height)
    return found
