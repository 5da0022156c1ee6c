"""The pace of a loop while it runs: one row per batch, cheap enough to read twice a second."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

COLUMNS = ("process", "rank", "ts", "period", "wait", "queue_depth")


def batch_times(trace: Trace) -> pd.DataFrame:
    """Return one row per batch of each main process, int64, times in ns.

    Columns: process, rank, ts (the batch was received, or the optimizer finished), period (since
    the one before), wait (for the batch), queue_depth (batches ready when asked, -1 unknown). Of a
    process that uses no PyTorch loader the optimizer's steps are the batches, and the wait is -1:
    unknown.
    """
    processes = table(trace, "processes")
    if processes is None:
        return empty_batch_times()
    received = sorted_ends(table(trace, "loader"), "kind", "next")
    optimized = sorted_ends(table(trace, "ranges"), "category", "optimizer")
    parts = []
    mains = processes[processes["role"] == "main"]
    for process, rank in zip(mains["process"], mains["rank"], strict=True):
        batches = received[received[:, 0] == process]
        if not len(batches):
            batches = optimized[optimized[:, 0] == process]
        if len(batches) > 1:
            ts = batches[:, 1]
            keys = np.broadcast_to([process, rank], (len(batches) - 1, 2))
            parts.append(np.column_stack([keys, ts[1:], np.diff(ts), batches[1:, 2:]]))
    if not parts:
        return empty_batch_times()
    return pd.DataFrame(np.concatenate(parts), columns=list(COLUMNS))


def empty_batch_times() -> pd.DataFrame:
    """Return the columns without rows."""
    return pd.DataFrame({name: np.empty(0, np.int64) for name in COLUMNS})


def sorted_ends(rows: pd.DataFrame | None, kind: str, wanted: str) -> Ints:
    """Return process, end, wait and queue_depth of the rows whose `kind` is `wanted`, by end.

    int64[n, 4]. The live view reads them twice a second: arrays take a fifth of the time of frames.
    """
    if rows is None:
        return np.empty((0, 4), np.int64)
    selected = (rows[kind] == wanted).to_numpy(bool)
    is_loader = "queue_depth" in rows
    if is_loader:
        selected = selected & (column(rows, "end") != 1)
    ts, dur = column(rows, "ts")[selected], column(rows, "dur")[selected]
    wait = depth = np.full(len(ts), -1)
    if is_loader:
        wait, depth = dur, column(rows, "queue_depth")[selected]
    ends = np.column_stack([column(rows, "process")[selected], ts + dur, wait, depth])
    return ends[np.argsort(ends[:, 1], kind="stable")]
