"""What the host did while a device stood idle for want of work."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.categories import HOST_BOUND
from perfscope.analyzer.run.table_access import column, of_category, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Spans, labeled
from perfscope.traces.trace import Trace

DOING = ("driver", "allocating", "launching", "operators", "python", "unrecorded")
DONE = pd.CategoricalDtype(list(DOING))
COLUMNS = ("process", "device", "rank", "ts", "dur", "tid", "launch", "doing")
# A runtime call usually takes microseconds. One of a millisecond loads code, initialises or waits
# inside the driver; it happens once and not every step.
SLOW_CALL_NS = 1_000_000


def host_gaps(trace: Trace) -> pd.DataFrame:
    """The host-bound pieces of `segments`, cut by what the thread that launched next was doing.

    Columns: process, device, rank, ts, dur, tid, launch, doing: in a runtime call of a millisecond
    or more (`driver`), in one that gets or returns device memory (`allocating`), in any other
    runtime call (`launching`), else in an operator (`operators`), else in a Python function where
    those are recorded (`python`), else `unrecorded`.
    """
    pieces = trace.fact(segments)
    pieces = pieces[pieces["category"] == HOST_BOUND]
    parts = []
    for _, own in pieces.groupby(["process", "device", "tid"], sort=True):
        first = own.iloc[0]
        parts.append(_cut(own, _doing(trace, int(first["process"]), int(first["tid"]))))
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS)).astype({"doing": DONE})
    return pd.concat(parts, ignore_index=True)


def _doing(trace: Trace, process: int, tid: int) -> list[Spans]:
    """What the thread did, in order of DOING without the last; the first that covers an instant
    counts.
    """
    calls = _of(trace, "launches", process, tid, "kind")
    ops, ranges = _of(trace, "ops", process, tid), _of(trace, "ranges", process, tid, "category")
    slow = column(calls, "dur") >= SLOW_CALL_NS
    memory = None if calls is None else calls[calls["kind"] == "memory"]
    return [
        spans_of(None if calls is None else calls[slow & (calls["kind"] != "memory").to_numpy()]),
        spans_of(memory),
        spans_of(calls),
        spans_of(ops),
        spans_of(of_category(ranges, "python")),
    ]


def _of(trace: Trace, name: str, process: int, tid: int, *others: str) -> pd.DataFrame | None:
    """`ts`, `dur` and other columns of a table's rows of one thread."""
    frame = table(trace, name)
    if frame is None:
        return None
    mine = (column(frame, "process") == process) & (column(frame, "tid") == tid)
    own: pd.DataFrame = frame[["ts", "dur", *others]][mine]
    return own


def _cut(pieces: pd.DataFrame, kinds: list[Spans]) -> pd.DataFrame:
    begin = column(pieces, "ts")
    end = begin + column(pieces, "dur")
    start, stop, label = labeled([*kinds, (begin, end)])
    at = np.searchsorted(begin, start, side="right") - 1
    within = (at >= 0) & (start < end[np.maximum(at, 0)])
    start, stop, label, at = start[within], stop[within], label[within], at[within]
    rows = {
        name: column(pieces, name)[at] for name in ("process", "device", "rank", "tid", "launch")
    }
    doing = pd.Categorical.from_codes(label, dtype=DONE)
    return pd.DataFrame({**rows, "ts": start, "dur": stop - start, "doing": doing})[list(COLUMNS)]
