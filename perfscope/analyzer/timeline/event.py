"""One event in full, and what it caused or was caused by: operator, launch, kernel."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.timeline.lane import COLOURS
from perfscope.analyzer.timeline.track import SOURCES, Lanes
from perfscope.traces.trace import Trace

MOST_FLOWS = 200
"""More arrows than this from one operator are no answer; the first ones are given."""
SHOWN = {
    "ops": ("shapes", "dtypes", "sequence"),
    "launches": ("kind", "correlation"),
    "kernels": ("device", "stream", "correlation", "graph"),
    "copies": ("bytes", "pinned", "non_blocking", "device", "stream", "correlation"),
    "ranges": ("category", "value"),
    "loader": ("workers", "queue_depth", "iterator"),
    "fetches": ("worker", "samples", "cpu_ns", "run_delay_ns", "read_bytes", "major_faults"),
    "steps": ("phase", "micro_steps", "distorted"),
    "device_counters": (),
}
UNKNOWN = {-1, "", "[]"}


@dataclass(frozen=True)
class Place:
    """Where an event lies on the timeline; `dur_ns` as recorded."""

    lane: int
    ts_ns: int
    dur_ns: int
    name: str
    role: str  # operator, launch, kernel, copy


@dataclass(frozen=True)
class Event:
    """What is known of one event."""

    lane: int
    ts_ns: int
    dur_ns: int
    name: str
    category: str
    source: str
    details: dict[str, Any]
    causes: list[Place] = field(
        default_factory=list
    )  # from the operator down to what is just above this event
    effects: list[Place] = field(default_factory=list)  # what it launched
    hidden_effects: int = 0


def event_at(trace: Trace, lanes: Lanes, number: int, instant_ns: int) -> Event | None:
    """The event of a lane that holds an instant, None in a gap."""
    lane = lanes.lanes[number]
    at = lane.at(instant_ns)
    if at is None:
        return None
    code = int(lane.code(slice(at, at + 1))[0])
    source, row = SOURCES[int(lane.source[at])], int(lane.row[at])
    frame = table_of(trace, source)
    name, colour = lanes.names.texts[code], COLOURS[lanes.names.colours[code]]
    dur = int(lane.dur(slice(at, at + 1))[0])
    if frame is None or row >= len(frame):
        return Event(number, int(lane.ts[at]), dur, name, colour, source, {})
    said = frame.iloc[row]
    dur = dur if source in ("fetches", "steps") else int(said["dur"])
    causes, effects, more = flow(trace, lanes, source, row)
    return Event(
        number,
        int(lane.ts[at]),
        dur,
        name,
        colour,
        source,
        details(said, source),
        causes,
        effects,
        more,
    )


def table_of(trace: Trace, source: str) -> pd.DataFrame | None:
    return (
        trace.fact(steps) if source == "steps" and len(trace.fact(steps)) else trace.table(source)
    )


def details(row: "pd.Series[Any]", source: str) -> dict[str, Any]:
    """What the trace says of it, without what it does not know."""
    found = {}
    for column in SHOWN[source]:
        value = row.get(column)
        value = value.item() if isinstance(value, np.generic) else value
        if value is not None and value == value and value not in UNKNOWN:
            found[column] = value if isinstance(value, (int, float, bool)) else str(value)
    return found


def flow(trace: Trace, lanes: Lanes, source: str, row: int) -> tuple[list[Place], list[Place], int]:
    """(causes, effects, effects left out) of a row."""
    launches = trace.table("launches")
    if launches is None:
        return [], [], 0
    if source in ("kernels", "copies"):
        frame = trace.table(source)
        launch = int(frame["launch"].iloc[row]) if frame is not None else -1
        return above(trace, lanes, launch), [], 0
    if source == "launches":
        own = np.array([row])
        op = int(launches["op"].iloc[row])
        causes = [
            place for place in [of_row(trace, lanes, "ops", op, "operator")] if place is not None
        ]
    elif source == "ops":
        own, causes = launched_by(trace, row), []
    else:
        return [], [], 0
    effects = (
        []
        if source == "launches"
        else [of_row(trace, lanes, "launches", int(one), "launch") for one in own[:MOST_FLOWS]]
    )
    started = 0
    for name, role in (("kernels", "kernel"), ("copies", "copy")):
        frame = trace.table(name)
        if frame is not None:
            rows = np.flatnonzero(np.isin(frame["launch"].to_numpy(np.int64), own))
            started += len(rows)
            effects += [of_row(trace, lanes, name, int(one), role) for one in rows[:MOST_FLOWS]]
    shown = [place for place in effects if place is not None]
    return causes, shown, max(started + (len(own) if source == "ops" else 0) - len(shown), 0)


def above(trace: Trace, lanes: Lanes, launch: int) -> list[Place]:
    """The operator and the call that started something."""
    launches = trace.table("launches")
    if launches is None or launch < 0:
        return []
    op = int(launches["op"].iloc[launch])
    both = (
        of_row(trace, lanes, "ops", op, "operator"),
        of_row(trace, lanes, "launches", launch, "launch"),
    )
    return [place for place in both if place is not None]


def launched_by(trace: Trace, op: int) -> np.ndarray:
    """Rows of the launches inside an operator, its own and those of operators in it."""
    ops, launches = trace.table("ops"), trace.table("launches")
    assert ops is not None and launches is not None
    row = ops.iloc[op]
    ts = launches["ts"].to_numpy(np.int64)
    same = (launches["process"].to_numpy() == row["process"]) & (
        launches["tid"].to_numpy() == row["tid"]
    )
    return np.flatnonzero(same & (ts >= row["ts"]) & (ts < row["ts"] + max(row["dur"], 1)))


def of_row(trace: Trace, lanes: Lanes, source: str, row: int, role: str) -> Place | None:
    """Where a row of a table lies on the timeline; None where it is not drawn."""
    frame = trace.table(source)
    if row < 0 or frame is None or row >= len(frame):
        return None
    said = frame.iloc[row]
    ts, code = int(said["ts"]), SOURCES.index(source)
    for track in lanes.tracks:
        if track.process != said["process"] or (
            source in ("ops", "launches") and track.tid != said["tid"]
        ):
            continue
        if source in ("kernels", "copies") and (track.device, track.stream) != (
            said["device"],
            said["stream"],
        ):
            continue
        for number in range(track.first, track.first + track.rows):
            lane = lanes.lanes[number]
            begin, end = (int(np.searchsorted(lane.ts, ts, side)) for side in ("left", "right"))
            here = (lane.row[begin:end] == row) & (lane.source[begin:end] == code)
            if here.any():
                name = lanes.names.texts[int(lane.code(slice(begin, end))[int(np.argmax(here))])]
                return Place(number, ts, int(said["dur"]), name, role)
    return None
