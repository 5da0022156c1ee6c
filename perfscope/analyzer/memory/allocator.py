"""The device's allocator over time, what it holds at its peak, and which operators ask it for
memory.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, pair, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

DEEPEST = 64
NOBODY = "outside operators"


@dataclass(frozen=True)
class Allocator:
    """One device (-1: host memory) of one process. `unused_share`: of what is reserved at the peak,
    held and not in use.
    """

    process: int
    device: int
    ts: Ints
    allocated: Ints
    reserved: Ints  # -1 where it was not recorded
    peak_ts: int
    peak_bytes: int
    reserved_bytes: int
    unused_share: float | None
    allocations: int


def allocators(trace: Trace) -> list[Allocator]:
    """Every allocator that was recorded, the largest peak first."""
    memory = table(trace, "memory")
    if memory is None:
        return []
    found = []
    for keys, rows in memory.groupby(["process", "device"]):
        process, device = pair(keys)
        rows = rows.sort_values("ts", kind="stable")
        allocated, reserved = column(rows, "allocated_bytes"), column(rows, "reserved_bytes")
        if not (allocated >= 0).any():
            continue
        at = int(allocated.argmax())
        held = int(reserved[at])
        unused = None if held <= 0 else max(held - int(allocated[at]), 0) / held
        ts = column(rows, "ts")
        asked = int((column(rows, "bytes") > 0).sum())
        peak = int(allocated[at])
        found.append(
            Allocator(
                process, device, ts, allocated, reserved, int(ts[at]), peak, held, unused, asked
            )
        )
    return sorted(found, key=lambda one: -one.peak_bytes)


def memory_owners(trace: Trace) -> pd.DataFrame:
    """Columns device, name (operator, text), count, bytes (asked for in all), largest_bytes,
    largest_ts; most bytes first.

    An allocation belongs to the operator of its process that began last and was still running.
    """
    memory, ops = table(trace, "memory"), table(trace, "ops")
    columns = ["device", "name", "count", "bytes", "largest_bytes", "largest_ts"]
    if memory is None:
        return pd.DataFrame(columns=columns)
    asked = memory[memory["bytes"] > 0]
    name = np.full(len(asked), NOBODY, object)
    if ops is not None and len(ops):
        owner = owners(asked, ops)
        name[owner >= 0] = ops["name"].astype(object).to_numpy()[owner[owner >= 0]]
    told = asked.assign(name=name)
    groups = told.groupby(["device", "name"], sort=False)
    found = groups.agg(
        count=("bytes", "count"), total=("bytes", "sum"), largest_bytes=("bytes", "max")
    ).reset_index()
    found["largest_ts"] = told.loc[groups["bytes"].idxmax(), "ts"].to_numpy()
    return found.rename(columns={"total": "bytes"}).sort_values(
        "bytes", ascending=False, ignore_index=True
    )[columns]


def owners(asked: pd.DataFrame, ops: pd.DataFrame) -> Ints:
    """Row of `ops` for each allocation, -1 for none."""
    owner = np.full(len(asked), -1, np.int64)
    begin, end, parent = (
        column(ops, "ts"),
        column(ops, "ts") + column(ops, "dur"),
        column(ops, "parent"),
    )
    process = column(ops, "process")
    for code in np.unique(column(asked, "process")):
        here = np.flatnonzero(column(asked, "process") == code)
        own = np.flatnonzero(process == code)
        own = own[np.lexsort((-end[own], begin[own]))]
        when = column(asked, "ts")[here]
        place = np.searchsorted(begin[own], when, side="right") - 1
        row = (
            np.where(place >= 0, own[np.maximum(place, 0)], -1)
            if len(own)
            else np.full(len(here), -1, np.int64)
        )
        for _ in range(DEEPEST):
            over = (row >= 0) & (end[row] < when)
            if not over.any():
                break
            row[over] = parent[row[over]]
        row[(row >= 0) & (end[row] < when)] = -1
        owner[here] = row
    return owner
