"""The one collective in which another rank waited longest for a given rank: where to look on the
timeline.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import units
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class LongestWait:
    """Who waited, where and when; ns of job time."""

    rank: int
    process: int
    device: int
    stream: int
    kind: str
    start_ns: int
    end_ns: int


def longest_wait(trace: Trace, rank: int) -> LongestWait | None:
    """The longest wait of another rank for `rank`, None when nobody waited."""
    frame, found = table(trace, "collectives"), trace.fact(matched_collectives)
    if frame is None:
        return None
    places = {(unit.process, unit.device): unit.rank for unit in units(trace)}
    process, device, ts = column(frame, "process"), column(frame, "device"), column(frame, "ts")
    of_row = np.array(
        [places.get(pair, -1) for pair in zip(process.tolist(), device.tolist(), strict=True)],
        np.int64,
    )
    last = np.append(of_row, -1)[column(found, "last_row")]
    until = np.minimum(column(found, "arrival_ns"), ts + column(frame, "dur"))
    wait = np.where(
        (last == rank) & (of_row != rank) & (column(found, "match") >= 0), until - ts, 0
    )
    if not len(wait) or wait.max() <= 0:
        return None
    at = int(wait.argmax())
    kind, stream = str(frame["kind"].iloc[at]), int(frame["stream"].iloc[at])
    return LongestWait(
        int(of_row[at]),
        int(process[at]),
        int(device[at]),
        stream,
        kind,
        int(ts[at]),
        int(until[at]),
    )
