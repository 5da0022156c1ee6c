"""The links of a host: switches, devices, processors and network ports, a row each.

Busier links are darker.
"""

import plotly.graph_objects as go

from perfscope.analyzer.devices.link_map import DEVICE, NODE, PORT, SWITCH, LinkEndpoint, LinkMap
from perfscope.ui.figures.figure_layout import figure
from perfscope.ui.theme import LIGHT

HEIGHTS = {SWITCH: 2.0, DEVICE: 1.0, NODE: 0.0, PORT: -0.8}
SYMBOLS = {SWITCH: "diamond", DEVICE: "square", NODE: "circle", PORT: "triangle-up"}
MOST_LABELS = 10
FAINTEST = 0.25
WIDEST_LINE = 8.0
ARC = 0.35
Places = dict[str, tuple[float, float]]


def link_map(links: LinkMap) -> go.Figure:
    """Return the map; the middle and the ends of a link have tooltips."""
    places = endpoint_places(links.endpoints)
    fig = figure(90 + 70 * len({endpoint.kind for endpoint in links.endpoints}))
    for edge in links.edges:
        if edge.first in places and edge.second in places:
            text = f"{edge.first} to {edge.second}: {edge.text}"
            ends = places[edge.first], places[edge.second]
            add_link(fig, ends, text, edge.links, edge.share or 0.0)
    for kind in SYMBOLS:
        for used in (True, False):
            alike = [end for end in links.endpoints if end.kind == kind and end.used is used]
            add_ends(fig, alike, places)
    fig.update_xaxes(visible=False)
    heights = [height for _, height in places.values()]
    fig.update_yaxes(visible=False, range=[min(heights) - 0.55, max(heights) + 0.5])
    fig.update_layout(margin={"l": 20, "r": 20, "t": 8, "b": 8}, dragmode=False)
    return fig


def add_link(
    fig: go.Figure,
    ends: tuple[tuple[float, float], tuple[float, float]],
    text: str,
    links: int,
    share: float,
) -> None:
    """Add a link: as wide as it has lanes, as dark as it is busy; an arc within a row."""
    (x0, y0), (x1, y1) = ends
    is_within_row = y0 == y1
    middle = ((x0 + x1) / 2, (y0 + y1) / 2 + (ARC * abs(x1 - x0) ** 0.5 if is_within_row else 0.0))
    is_proximity = HEIGHTS[PORT] in (y0, y1)
    is_between_devices = is_within_row or max(y0, y1) > HEIGHTS[DEVICE]
    category = "exposed-communication" if is_between_devices else "exposed-copy"
    fig.add_scatter(
        x=[x0, middle[0], x1],
        y=[y0, middle[1], y1],
        mode="lines",
        opacity=FAINTEST + (1 - FAINTEST) * min(share, 1.0),
        meta={"category": category},
        line={
            "width": min(1.0 + links / 3.0, WIDEST_LINE),
            "color": LIGHT.category[category],
            "shape": "spline",
            "dash": "dot" if is_proximity else "solid",
        },
        text=[text] * 3,
        hovertemplate="%{text}<extra></extra>",
    )


def add_ends(fig: go.Figure, endpoints: list[LinkEndpoint], places: Places) -> None:
    """Add ends of links that are alike; devices that the job does not use are gray."""
    if not endpoints:
        return
    kind = endpoints[0].kind
    is_gray = kind == DEVICE and not endpoints[0].used
    fig.add_scatter(
        x=[places[endpoint.name][0] for endpoint in endpoints],
        y=[places[endpoint.name][1] for endpoint in endpoints],
        mode="markers+text",
        text=[endpoint.name if kind != SWITCH else endpoint.text for endpoint in endpoints],
        textposition="top center" if kind == SWITCH else "bottom center",
        customdata=[f"{endpoint.name}: {endpoint.text}" for endpoint in endpoints],
        hovertemplate="%{customdata}<extra></extra>",
        meta={"category": "muted" if is_gray else "accent"},
        marker={
            "symbol": SYMBOLS[kind],
            "size": 18 if len(places) <= MOST_LABELS else 13,
            "color": LIGHT.muted if is_gray else LIGHT.accent,
        },
    )


def endpoint_places(endpoints: list[LinkEndpoint]) -> Places:
    """Return a place per endpoint: each kind in its row, spread evenly over the same width."""
    found = {}
    for kind, height in HEIGHTS.items():
        names = [endpoint.name for endpoint in endpoints if endpoint.kind == kind]
        for number, name in enumerate(names):
            found[name] = ((number + 0.5) / len(names), height)
    return found
