"""The strip above the timeline: the whole span in a few hundred columns, divided by category."""

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.categories import OTHER_IDLE, PRECEDENCE
from perfscope.analyzer.timeline.lane import EVENT_COLORS, Lane
from perfscope.analyzer.timeline.selection import busy
from perfscope.analyzer.timeline.tiles import edges_of
from perfscope.analyzer.timeline.track import Lanes
from perfscope.traces.intervals import Ints, Spans, exclusive, merged

EXACT_EVENTS = 3_000_000
"""Above this many events the union over lanes is not formed; each category is that of its busiest
lane.
"""


def strip(lanes: Lanes, columns: int) -> dict[str, NDArray[np.float64]]:
    """Return, per category, its exclusive share of each column of the span: together at most 1.

    Read from the device's streams where there are any, else from the threads and their top level.
    """
    kinds = ("stream",) if any(track.kind == "stream" for track in lanes.tracks) else ("thread",)
    edges = edges_of(*lanes.span_ns, columns)
    rows = [
        number
        for track in lanes.tracks
        if track.kind in kinds
        for number in range(track.first, track.first + track.rows)
    ]
    color = lanes.names.color_codes()
    found = [lanes.lanes[number] for number in rows]
    if sum(map(len, found)) > EXACT_EVENTS:
        return shares_of_busiest_lane(found, color, edges)
    spans = [spans_in_color(found, color, EVENT_COLORS.index(name)) for name in PRECEDENCE]
    shares = exclusive(spans, edges[:-1], edges[1:])
    wide = np.maximum(np.diff(edges), 1)
    return {
        name: share / wide for name, share in zip(PRECEDENCE, shares, strict=True) if share.any()
    }


def spans_in_color(rows: list[Lane], color: NDArray[np.uint8], wanted: int) -> Spans:
    """Return the union of all events in one color."""
    parts = []
    for lane in rows:
        is_wanted = (color[lane.codes] == wanted)[lane.key & lane.mask]
        ts = lane.ts[is_wanted]
        parts.append((ts, ts + (lane.key[is_wanted] >> lane.bits)))
    return merged(*parts)


def shares_of_busiest_lane(
    rows: list[Lane], color: NDArray[np.uint8], edges: Ints
) -> dict[str, NDArray[np.float64]]:
    """Return the share of the busiest lane, in the color that most of the lane's names have."""
    wide = np.maximum(np.diff(edges), 1)
    shares: dict[str, NDArray[np.float64]] = {}
    for lane in rows:
        name = OTHER_IDLE
        if len(lane):
            name = EVENT_COLORS[int(np.bincount(color[lane.codes]).argmax())]
        share = np.diff(busy(lane, edges)) / wide
        shares[name] = np.maximum(shares.get(name, np.zeros(len(wide))), share)
    left = np.ones(len(wide))
    found = {}
    for name in PRECEDENCE:
        if name in shares:
            found[name] = np.minimum(shares[name], left)
            left = left - found[name]
    return found
