"""What the host did while a device was idle because the host launched nothing."""

from typing import Any

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.categories import HOST_BOUND
from perfscope.analyzer.run.accelerators.device_activity import rows_on_device
from perfscope.analyzer.run.process_rows import fact_rows, table_rows
from perfscope.analyzer.run.table_access import column, rows_of_category
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, Spans, labeled_intervals
from perfscope.traces.trace import Trace

ACTIVITIES = ("driver", "allocating", "launching", "operators", "python", "unrecorded")
ACTIVITY = pd.CategoricalDtype(list(ACTIVITIES))
COLUMNS = ("process", "device", "rank", "ts", "dur", "tid", "launch", "doing")
SLOW_CALL_NS = 1_000_000
"""A runtime call usually takes microseconds. One of a millisecond loads code, initializes or waits
inside the driver; it happens once and not in every step.
"""


def host_gaps(trace: Trace, process: int, device: int) -> pd.DataFrame:
    """Return the host-bound pieces of `segments` of one device, divided by what the launching
    thread did.

    Only one device's are wanted: of many devices that one thread uses, each would have a row for
    each call of that thread. Columns: process, device, rank, ts, dur, tid, launch, doing: in a
    runtime call of a millisecond or more (`driver`), in one that gets or returns device memory
    (`allocating`), in any other runtime call (`launching`), else in an operator (`operators`), else
    in a Python function where those are recorded (`python`), else `unrecorded`.
    """
    pieces = rows_on_device(fact_rows(trace, segments, process), device)
    pieces = pieces[pieces["category"] == HOST_BOUND]
    tids = column(pieces, "tid")
    parts = [
        divide_pieces(pieces[tids == tid], activities_of_thread(trace, process, tid))
        for tid in np.unique(tids).tolist()
    ]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS)).astype({"doing": ACTIVITY})
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in COLUMNS
    }
    columns["doing"] = pd.Categorical.from_codes(columns["doing"], dtype=ACTIVITY)
    return pd.DataFrame(columns, copy=False)


def activities_of_thread(trace: Trace, process: int, tid: int) -> list[Spans]:
    """Return what the thread did, in order of ACTIVITIES without the last.

    The first that covers an instant counts.
    """
    calls = rows_of_thread(trace, "launches", process, tid, "kind")
    ops = rows_of_thread(trace, "ops", process, tid)
    ranges = rows_of_thread(trace, "ranges", process, tid, "category")
    slow = memory = None
    if calls is not None:
        is_memory = (calls["kind"] == "memory").to_numpy()
        slow = calls[(column(calls, "dur") >= SLOW_CALL_NS) & ~is_memory]
        memory = calls[is_memory]
    return [
        spans_of(slow),
        spans_of(memory),
        spans_of(calls),
        spans_of(ops),
        spans_of(rows_of_category(ranges, "python")),
    ]


def rows_of_thread(
    trace: Trace, name: str, process: int, tid: int, *others: str
) -> pd.DataFrame | None:
    """Return `ts`, `dur` and other columns of a table's rows of one thread."""
    frame = table_rows(trace, name, process)
    if frame is None:
        return None
    rows: pd.DataFrame = frame[["ts", "dur", *others]][column(frame, "tid") == tid]
    return rows


def divide_pieces(pieces: pd.DataFrame, kinds: list[Spans]) -> dict[str, Ints]:
    """Return the columns of the pieces, divided where what the thread did changes; `doing` is a
    number in ACTIVITIES.
    """
    begin = column(pieces, "ts")
    end = begin + column(pieces, "dur")
    start, stop, label = labeled_intervals([*kinds, (begin, end)])
    piece = np.searchsorted(begin, start, side="right") - 1
    within = (piece >= 0) & (start < end[np.maximum(piece, 0)])
    start, stop, label, piece = start[within], stop[within], label[within], piece[within]
    names = ("process", "device", "rank", "tid", "launch")
    rows = {name: column(pieces, name)[piece] for name in names}
    return {**rows, "ts": start, "dur": stop - start, "doing": label}
