"""The device's allocator over time, its peak, and the operators that allocate memory."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, pair, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

DEEPEST: Final = 64
"""The deepest nesting of operators that is followed."""
NO_OPERATOR: Final = "outside operators"
OWNER_COLUMNS: Final = ["device", "name", "count", "bytes", "largest_bytes", "largest_ts"]


@dataclass(frozen=True)
class Allocator:
    """The allocator of one device (-1: host memory) in one process.

    `reserved` is -1 where it was not recorded. `unused_share` is the part of what is reserved at
    the peak that is not in use.
    """

    process: int
    device: int
    ts: Ints
    allocated: Ints
    reserved: Ints
    peak_bytes: int
    reserved_bytes: int
    unused_share: float | None
    allocations: int


def allocators(trace: Trace) -> list[Allocator]:
    """Return every allocator that was recorded, the largest peak first."""
    memory = table(trace, "memory")
    if memory is None:
        return []
    found = []
    for keys, rows in memory.groupby(["process", "device"]):
        process, device = pair(keys)
        if (column(rows, "allocated_bytes") >= 0).any():
            found.append(allocator_of(process, device, rows.sort_values("ts", kind="stable")))
    return sorted(found, key=lambda allocator: -allocator.peak_bytes)


def allocator_of(process: int, device: int, rows: pd.DataFrame) -> Allocator:
    """Return one allocator from its events, in order of time."""
    allocated, reserved = column(rows, "allocated_bytes"), column(rows, "reserved_bytes")
    peak = int(allocated.argmax())
    held, used = int(reserved[peak]), int(allocated[peak])
    return Allocator(
        process=process,
        device=device,
        ts=column(rows, "ts"),
        allocated=allocated,
        reserved=reserved,
        peak_bytes=used,
        reserved_bytes=held,
        unused_share=None if held <= 0 else max(held - used, 0) / held,
        allocations=int((column(rows, "bytes") > 0).sum()),
    )


def memory_owners(trace: Trace) -> pd.DataFrame:
    """Return the operators that allocate memory, most bytes first.

    Columns device, name (operator, text), count, bytes (allocated in total), largest_bytes,
    largest_ts. An allocation belongs to the operator of its process that began last and was still
    running.
    """
    memory, ops = table(trace, "memory"), table(trace, "ops")
    if memory is None:
        return pd.DataFrame(columns=OWNER_COLUMNS)
    allocations = memory[memory["bytes"] > 0]
    name = np.full(len(allocations), NO_OPERATOR, object)
    if ops is not None and len(ops):
        owner = owning_operators(allocations, ops)
        has_owner = owner >= 0
        name[has_owner] = ops["name"].astype(object).to_numpy()[owner[has_owner]]
    named = allocations.assign(name=name)
    groups = named.groupby(["device", "name"], sort=False)
    sums = groups.agg(
        count=("bytes", "count"), total=("bytes", "sum"), largest_bytes=("bytes", "max")
    ).reset_index()
    sums["largest_ts"] = named.loc[groups["bytes"].idxmax(), "ts"].to_numpy()
    ordered = sums.rename(columns={"total": "bytes"}).sort_values("bytes", ascending=False)
    return ordered.reset_index(drop=True)[OWNER_COLUMNS]


def owning_operators(allocations: pd.DataFrame, ops: pd.DataFrame) -> Ints:
    """Return the row of `ops` that each allocation belongs to, -1 for none."""
    owner = np.full(len(allocations), -1, np.int64)
    process = column(allocations, "process")
    for code in np.unique(process):
        positions = np.flatnonzero(process == code)
        instants = column(allocations, "ts")[positions]
        owner[positions] = running_operators(ops, int(code), instants)
    return owner


def running_operators(ops: pd.DataFrame, process: int, instants: Ints) -> Ints:
    """Return the operator of a process that began last and runs at each instant, -1 for none."""
    begin = column(ops, "ts")
    end, parent = begin + column(ops, "dur"), column(ops, "parent")
    rows = np.flatnonzero(column(ops, "process") == process)
    if not len(rows):
        return np.full(len(instants), -1, np.int64)
    rows = rows[np.lexsort((-end[rows], begin[rows]))]
    position = np.searchsorted(begin[rows], instants, side="right") - 1
    owner: Ints = np.where(position >= 0, rows[np.maximum(position, 0)], -1)
    for _ in range(DEEPEST):
        is_over = (owner >= 0) & (end[owner] < instants)
        if not is_over.any():
            break
        owner[is_over] = parent[owner[is_over]]
    owner[(owner >= 0) & (end[owner] < instants)] = -1
    return owner
