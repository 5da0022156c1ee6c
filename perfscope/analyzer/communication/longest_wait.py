"""The collective in which another rank waited longest for a given rank, for the timeline."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.budget_units import units
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class LongestWait:
    """Which rank waited, where and when; ns on the job's clock."""

    rank: int
    process: int
    device: int
    stream: int
    kind: str
    start_ns: int
    end_ns: int


def longest_wait(trace: Trace, rank: int) -> LongestWait | None:
    """Return the longest wait of another rank for `rank`, None when no rank waited."""
    frame, matched = table(trace, "collectives"), trace.fact(matched_collectives)
    if frame is None:
        return None
    waiting_rank = unit_rank_of_rows(trace, frame)
    last_rank = np.append(waiting_rank, -1)[column(matched, "last_row")]
    begin = column(frame, "ts")
    arrival = np.minimum(column(matched, "arrival_ns"), begin + column(frame, "dur"))
    waits_for_rank = (last_rank == rank) & (waiting_rank != rank) & (column(matched, "match") >= 0)
    wait_ns = np.where(waits_for_rank, arrival - begin, 0)
    if not len(wait_ns) or wait_ns.max() <= 0:
        return None
    longest = int(wait_ns.argmax())
    row = frame.iloc[longest]
    return LongestWait(
        rank=int(waiting_rank[longest]),
        process=int(row["process"]),
        device=int(row["device"]),
        stream=int(row["stream"]),
        kind=str(row["kind"]),
        start_ns=int(begin[longest]),
        end_ns=int(arrival[longest]),
    )


def unit_rank_of_rows(trace: Trace, frame: pd.DataFrame) -> Ints:
    """Return the rank of the device of each row of `collectives`, -1 unknown."""
    ranks = {(unit.process, unit.device): unit.rank for unit in units(trace)}
    pairs = zip(column(frame, "process").tolist(), column(frame, "device").tolist(), strict=True)
    return np.array([ranks.get(pair, -1) for pair in pairs], np.int64)
