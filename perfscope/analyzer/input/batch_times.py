"""The beat of a loop while it runs: one row a batch, cheap enough to be looked at twice a
second.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

COLUMNS = ("process", "rank", "ts", "period", "wait", "queue_depth")


def batch_times(trace: Trace) -> pd.DataFrame:
    """Columns process, rank, ts (the batch was there, or the optimizer done), period (since the one
    before), wait (for the batch), queue_depth (batches ready when asked, -1 unknown); int64, times
    in ns.

    Of a process that asks no PyTorch loader an optimizer's step is the beat, and its wait is -1:
    not known.
    """
    processes = table(trace, "processes")
    if processes is None:
        return empty()
    asked, stepped = (
        ends(table(trace, "loader"), "kind", "next"),
        ends(table(trace, "ranges"), "category", "optimizer"),
    )
    parts = []
    for process, rank, role in zip(
        processes["process"], processes["rank"], processes["role"], strict=True
    ):
        own = next(
            (rows for each in (asked, stepped) if len(rows := each[each[:, 0] == process])),
            asked[:0],
        )
        if role == "main" and len(own) > 1:
            ts, whose = own[:, 1], np.broadcast_to([process, rank], (len(own) - 1, 2))
            parts.append(np.column_stack([whose, ts[1:], np.diff(ts), own[1:, 2:]]))
    return pd.DataFrame(np.concatenate(parts), columns=list(COLUMNS)) if parts else empty()


def empty() -> pd.DataFrame:
    return pd.DataFrame({name: np.empty(0, np.int64) for name in COLUMNS})


def ends(rows: pd.DataFrame | None, kind: str, wanted: str) -> Ints:
    """Process, end, wait and queue_depth of the rows whose `kind` is the wanted one, in order of
    their ends; int64[n, 4].

    Twice a second somebody looks: plain arrays, a fifth of what the same costs in frames.
    """
    if rows is None:
        return np.empty((0, 4), np.int64)
    mine = (rows[kind] == wanted).to_numpy(bool)
    loads = "queue_depth" in rows
    if loads:
        mine = mine & (column(rows, "end") != 1)
    ts, dur = column(rows, "ts")[mine], column(rows, "dur")[mine]
    unknown = np.full(len(ts), -1)
    depth = column(rows, "queue_depth")[mine] if loads else unknown
    found = np.column_stack(
        [column(rows, "process")[mine], ts + dur, dur if loads else unknown, depth]
    )
    return found[np.argsort(found[:, 1], kind="stable")]
