"""Statistics of a stretch of chosen lanes by module or annotated range: whose call each event was
made in.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import OTHER_IDLE
from perfscope.analyzer.run.range_table import ANNOTATED, innermost, modules
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.timeline.selection import COLUMNS, Stretch, ordered, stretches, whole_ns
from perfscope.analyzer.timeline.track import SOURCES, Lanes, Track
from perfscope.traces.trace import Trace

OUTSIDE: Final = "outside of any"
NEUTRAL, IDLE = "step_0", OTHER_IDLE


def annotated(ranges: pd.DataFrame) -> pd.DataFrame:
    """The ranges that somebody named: record_function, NVTX, and those of the probe; steps only
    divide time.
    """
    return ranges[ranges["category"].isin([kind for kind in ANNOTATED if kind != "step"])]


PLACES: Final[dict[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "module": modules,
    "range": annotated,
}


def places_of(trace: Trace) -> list[str]:
    """The kinds of places that this trace has."""
    ranges = table(trace, "ranges")
    return [] if ranges is None else [kind for kind, of in PLACES.items() if len(of(ranges))]


def selection_by_place(
    trace: Trace, lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int], kind: str
) -> pd.DataFrame:
    """One row a module or range (`kind`), columns as `selection`; events that ran in none are one
    row.

    An event of a thread belongs to the innermost place that is open there when it begins, work of a
    device to that in which it was launched. Raises KeyError for another kind.
    """
    of = PLACES[kind]
    ranges = table(trace, "ranges")
    found = list(stretches(lanes, begin_ns, end_ns, chosen))
    if ranges is None or not found:
        return pd.DataFrame(columns=list(COLUMNS))
    places = of(ranges)
    of_lane = {
        number: one for one in lanes.tracks for number in range(one.first, one.first + one.rows)
    }
    at = innermost(
        places,
        pd.concat([begun(trace, of_lane[one.number], one) for one in found], ignore_index=True),
    )
    names = np.append(places["name"].to_numpy(object), f"{OUTSIDE} {kind}")
    rows = pd.DataFrame(
        {
            "name": names[at],
            "category": np.where(at >= 0, NEUTRAL, IDLE),
            "count": 1,
            "sum_ns": np.concatenate([one.inside for one in found]),
            "exclusive_ns": np.concatenate([one.alone for one in found]),
            "longest_ns": np.concatenate([one.lane.dur(one.part) for one in found]),
        }
    )
    summed = rows.groupby(["name", "category"], sort=False, as_index=False).agg(
        {"count": "sum", "sum_ns": "sum", "exclusive_ns": "sum", "longest_ns": "max"}
    )
    return ordered(summed, whole_ns(lanes, begin_ns, end_ns, chosen))


def begun(trace: Trace, track: Track, one: Stretch) -> pd.DataFrame:
    """Thread (process, tid) and instant at which each event, or the launch of it, began; tid -1
    unknown.
    """
    ts = one.lane.ts[one.part]
    process, tid = np.full(len(ts), track.process), np.full(len(ts), track.tid)
    if track.kind != "stream":
        return pd.DataFrame({"process": process, "tid": tid, "ts": ts})
    calls, source, row = table(trace, "launches"), one.lane.source[one.part], one.lane.row[one.part]
    tid[:] = -1
    for name in ("kernels", "copies"):
        started = table(trace, name)
        own = np.flatnonzero(source == SOURCES.index(name))
        if started is None or calls is None or not len(own):
            continue
        launch = column(started, "launch")[row[own]]
        own, launch = own[launch >= 0], launch[launch >= 0]
        process[own], tid[own], ts = (
            column(calls, "process")[launch],
            column(calls, "tid")[launch],
            ts.copy(),
        )
        ts[own] = column(calls, "ts")[launch]
    return pd.DataFrame({"process": process, "tid": tid, "ts": ts})
