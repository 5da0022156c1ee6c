"""One event in detail, with its causes and effects: operator, launch, kernel."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.timeline.lane import EVENT_COLORS
from perfscope.analyzer.timeline.track import SOURCES, Lanes
from perfscope.traces.trace import Trace

MOST_FLOWS = 200
"""The most arrows that are drawn from one operator: the first ones."""
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
    """The place of an event on the timeline.

    `dur_ns` is as recorded; `role` is operator, launch, kernel or copy.
    """

    lane: int
    ts_ns: int
    dur_ns: int
    name: str
    role: str


@dataclass(frozen=True)
class Event:
    """All that is known of one event.

    `causes` are from the outermost operator to the launch, `effects` what it launched, of which
    `hidden_effects` are left out.
    """

    lane: int
    ts_ns: int
    dur_ns: int
    name: str
    category: str
    source: str
    details: dict[str, Any]
    causes: list[Place] = field(default_factory=list)
    effects: list[Place] = field(default_factory=list)
    hidden_effects: int = 0


def event_at(trace: Trace, lanes: Lanes, number: int, instant_ns: int) -> Event | None:
    """Return the event of a lane at an instant, None in a gap."""
    lane = lanes.lanes[number]
    at = lane.at(instant_ns)
    if at is None:
        return None
    code = int(lane.code(slice(at, at + 1))[0])
    source, row = SOURCES[int(lane.source[at])], int(lane.row[at])
    frame = table_of(trace, source)
    name, color = lanes.names.texts[code], EVENT_COLORS[lanes.names.colors[code]]
    dur = int(lane.dur(slice(at, at + 1))[0])
    if frame is None or row >= len(frame):
        return Event(number, int(lane.ts[at]), dur, name, color, source, {})
    recorded = frame.iloc[row]
    dur = dur if source in ("fetches", "steps") else int(recorded["dur"])
    causes, effects, more = flow(trace, lanes, source, row)
    return Event(
        number,
        int(lane.ts[at]),
        dur,
        name,
        color,
        source,
        details(recorded, source),
        causes,
        effects,
        more,
    )


def table_of(trace: Trace, source: str) -> pd.DataFrame | None:
    """Return the table that events of a source are from."""
    return (
        trace.fact(steps) if source == "steps" and len(trace.fact(steps)) else trace.table(source)
    )


def details(row: "pd.Series[Any]", source: str) -> dict[str, Any]:
    """Return the recorded columns that are shown, without unknown values."""
    found = {}
    for column in SHOWN[source]:
        value = row.get(column)
        value = value.item() if isinstance(value, np.generic) else value
        if value is not None and value == value and value not in UNKNOWN:
            found[column] = value if isinstance(value, (int, float, bool)) else str(value)
    return found


def flow(trace: Trace, lanes: Lanes, source: str, row: int) -> tuple[list[Place], list[Place], int]:
    """Return causes, effects, and the number of effects left out, of a row."""
    launches = trace.table("launches")
    if launches is None:
        return [], [], 0
    if source in ("kernels", "copies"):
        frame = trace.table(source)
        launch = int(frame["launch"].iloc[row]) if frame is not None else -1
        return causes_of_launch(trace, lanes, launch), [], 0
    if source == "launches":
        calls = np.array([row])
        op = int(launches["op"].iloc[row])
        causes = [
            place
            for place in [place_of_row(trace, lanes, "ops", op, "operator")]
            if place is not None
        ]
    elif source == "ops":
        calls, causes = launched_by(trace, row), []
    else:
        return [], [], 0
    effects = (
        []
        if source == "launches"
        else [
            place_of_row(trace, lanes, "launches", int(call), "launch")
            for call in calls[:MOST_FLOWS]
        ]
    )
    started = 0
    for name, role in (("kernels", "kernel"), ("copies", "copy")):
        frame = trace.table(name)
        if frame is not None:
            rows = np.flatnonzero(np.isin(frame["launch"].to_numpy(np.int64), calls))
            started += len(rows)
            effects += [
                place_of_row(trace, lanes, name, int(number), role) for number in rows[:MOST_FLOWS]
            ]
    shown = [place for place in effects if place is not None]
    return causes, shown, max(started + (len(calls) if source == "ops" else 0) - len(shown), 0)


def causes_of_launch(trace: Trace, lanes: Lanes, launch: int) -> list[Place]:
    """Return the operator and the call that started a kernel or copy."""
    launches = trace.table("launches")
    if launches is None or launch < 0:
        return []
    op = int(launches["op"].iloc[launch])
    both = (
        place_of_row(trace, lanes, "ops", op, "operator"),
        place_of_row(trace, lanes, "launches", launch, "launch"),
    )
    return [place for place in both if place is not None]


def launched_by(trace: Trace, op: int) -> np.ndarray:
    """Return the rows of the launches inside an operator, including operators in it."""
    ops, launches = trace.table("ops"), trace.table("launches")
    assert ops is not None and launches is not None
    row = ops.iloc[op]
    ts = launches["ts"].to_numpy(np.int64)
    same = (launches["process"].to_numpy() == row["process"]) & (
        launches["tid"].to_numpy() == row["tid"]
    )
    return np.flatnonzero(same & (ts >= row["ts"]) & (ts < row["ts"] + max(row["dur"], 1)))


def place_of_row(trace: Trace, lanes: Lanes, source: str, row: int, role: str) -> Place | None:
    """Return the place of a row of a table on the timeline; None where it is not drawn."""
    frame = trace.table(source)
    if row < 0 or frame is None or row >= len(frame):
        return None
    recorded = frame.iloc[row]
    ts, code = int(recorded["ts"]), SOURCES.index(source)
    for track in lanes.tracks:
        if track.process != recorded["process"] or (
            source in ("ops", "launches") and track.tid != recorded["tid"]
        ):
            continue
        if source in ("kernels", "copies") and (track.device, track.stream) != (
            recorded["device"],
            recorded["stream"],
        ):
            continue
        for number in range(track.first, track.first + track.rows):
            lane = lanes.lanes[number]
            begin, end = (int(np.searchsorted(lane.ts, ts, side)) for side in ("left", "right"))
            is_row = (lane.row[begin:end] == row) & (lane.source[begin:end] == code)
            if is_row.any():
                name = lanes.names.texts[int(lane.code(slice(begin, end))[int(np.argmax(is_row))])]
                return Place(number, ts, int(recorded["dur"]), name, role)
    return None
