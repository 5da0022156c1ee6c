"""Statistics of a time range on chosen lanes by module or annotated range: the call that each event
is inside.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import OTHER_IDLE
from perfscope.analyzer.run.range_table import ANNOTATED, innermost, modules
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.timeline.selection import (
    COLUMNS,
    Stretch,
    order_by_exclusive_time,
    selected_stretches,
    whole_ns,
)
from perfscope.analyzer.timeline.track import SOURCES, Lanes, Track
from perfscope.traces.trace import Trace

OUTSIDE: Final = "outside of any"
NEUTRAL, IDLE = "step_0", OTHER_IDLE


def annotated_ranges(ranges: pd.DataFrame) -> pd.DataFrame:
    """Return the named ranges: record_function, NVTX, and those of the probe, without steps."""
    return ranges[ranges["category"].isin([kind for kind in ANNOTATED if kind != "step"])]


PLACES: Final[dict[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "module": modules,
    "range": annotated_ranges,
}


def places_of(trace: Trace) -> list[str]:
    """Return the kinds of places that this trace has."""
    ranges = table(trace, "ranges")
    if ranges is None:
        return []
    return [kind for kind, find_places in PLACES.items() if len(find_places(ranges))]


def selection_by_place(
    lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int], kind: str, *, trace: Trace
) -> pd.DataFrame:
    """Return one row per module or range (`kind`), columns as `selection`.

    Events outside of any are one row. An event of a thread belongs to the innermost place that is
    open there when it begins, work of a device to that in which it was launched. Raises KeyError
    for another kind.
    """
    find_places = PLACES[kind]
    stretches = list(selected_stretches(lanes, begin_ns, end_ns, chosen))
    ranges = table(trace, "ranges")
    if ranges is None or not stretches:
        return pd.DataFrame(columns=list(COLUMNS))
    places = find_places(ranges)
    track_of_lane = {
        number: track
        for track in lanes.tracks
        for number in range(track.first, track.first + track.rows)
    }
    instants = [
        launch_instants(trace, track_of_lane[stretch.number], stretch) for stretch in stretches
    ]
    place = innermost(places, pd.concat(instants, ignore_index=True))
    names = np.append(places["name"].to_numpy(object), f"{OUTSIDE} {kind}")
    rows = pd.DataFrame(
        {
            "name": names[place],
            "category": np.where(place >= 0, NEUTRAL, IDLE),
            "count": 1,
            "sum_ns": np.concatenate([stretch.inside for stretch in stretches]),
            "exclusive_ns": np.concatenate([stretch.alone for stretch in stretches]),
            "longest_ns": np.concatenate([stretch.lane.dur(stretch.part) for stretch in stretches]),
        }
    )
    summed = rows.groupby(["name", "category"], sort=False, as_index=False).agg(
        {"count": "sum", "sum_ns": "sum", "exclusive_ns": "sum", "longest_ns": "max"}
    )
    return order_by_exclusive_time(summed, whole_ns(lanes, begin_ns, end_ns, chosen))


def launch_instants(trace: Trace, track: Track, stretch: Stretch) -> pd.DataFrame:
    """Return the thread (process, tid) and instant at which each event, or its launch, began.

    tid is -1 where it is unknown.
    """
    ts = stretch.lane.ts[stretch.part]
    process, tid = np.full(len(ts), track.process), np.full(len(ts), track.tid)
    if track.kind != "stream":
        return pd.DataFrame({"process": process, "tid": tid, "ts": ts})
    calls = table(trace, "launches")
    source, row = stretch.lane.source[stretch.part], stretch.lane.row[stretch.part]
    tid[:] = -1
    ts = ts.copy()
    for name in ("kernels", "copies"):
        started = table(trace, name)
        events = np.flatnonzero(source == SOURCES.index(name))
        if started is None or calls is None or not len(events):
            continue
        launch = column(started, "launch")[row[events]]
        events, launch = events[launch >= 0], launch[launch >= 0]
        process[events] = column(calls, "process")[launch]
        tid[events] = column(calls, "tid")[launch]
        ts[events] = column(calls, "ts")[launch]
    return pd.DataFrame({"process": process, "tid": tid, "ts": ts})
