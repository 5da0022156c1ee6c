"""Which processes answer requests with their model, by the requests that the probe recorded.

A training program or an inference loop can have a web server too, for its state or its metrics. It
does not wait for those requests. A call of `generate` that no request makes is not one either: the
program asks itself.
"""

from typing import Final

import numpy as np

from perfscope.analyzer.run.table_access import (
    column,
    rows_of,
    rows_of_category,
    rows_with_name,
    table,
)
from perfscope.traces.intervals import EMPTY, Spans, merged, single_interval, subtracted
from perfscope.traces.trace import Trace

CODE: Final = "code"
HANDLER: Final = "handler"
GENERATE: Final = "generate"
TRAINING: Final = ("backward", "optimizer")
MOST_CALLS: Final = 0.5
"""The share of its model calls that a server makes while a request is open; all but those of
requests that were under way when the recording began.
"""


def answering_processes(trace: Trace) -> list[int]:
    """Return the processes that report requests, or whose handlers call the model."""
    requests = table(trace, "requests")
    if requests is None:
        return []
    return [
        process
        for process in sorted(set(column(requests, "process").tolist()))
        if reports_requests(trace, process) or calls_for_requests(trace, process)
    ]


def reports_requests(trace: Trace, process: int) -> bool:
    """Return whether a program marks its requests itself."""
    rows = rows_of(trace, "requests", process)
    return rows is not None and len(rows_with_name(rows, "source", CODE)) > 0


def calls_for_requests(trace: Trace, process: int) -> bool:
    """Return whether a process that does not train calls its model for the handlers of requests.

    True for one that calls no model: it may be in another process.
    """
    rows = rows_of(trace, "requests", process)
    if rows is not None:
        rows = rows_with_name(rows, "source", HANDLER)
    if rows is None or not len(rows):
        return False
    ranges = rows_of(trace, "ranges", process)
    trains = rows_of_category(ranges, *TRAINING)
    calls = rows_of_category(ranges, "forward")
    if trains is not None and len(trains):
        return False
    if calls is None or not len(calls):
        return True
    begin_ns, dur_ns = column(rows, "ts"), column(rows, "dur")
    end_ns = np.where(dur_ns >= 0, begin_ns + dur_ns, np.iinfo(np.int64).max)
    called_ns = column(calls, "ts")
    begun = np.searchsorted(np.sort(begin_ns), called_ns, side="right")
    ended = np.searchsorted(np.sort(end_ns), called_ns, side="right")
    return bool((begun > ended).mean() >= MOST_CALLS)


def times_without_requests(trace: Trace, process: int) -> Spans:
    """Return when an answering process has no request, from its first one on; empty for others."""
    rows = rows_of(trace, "requests", process)
    if rows is None or process not in trace.fact(answering_processes):
        return EMPTY
    is_of_server = rows["source"].isin((CODE, HANDLER)).to_numpy(bool)
    begin_ns, dur_ns = column(rows, "ts")[is_of_server], column(rows, "dur")[is_of_server]
    state = rows["state"].astype(str).to_numpy()[is_of_server]
    last_ns = int((begin_ns + np.maximum(dur_ns, 0)).max())
    end_ns = np.where(state == "unfinished", last_ns, begin_ns + np.maximum(dur_ns, 0))
    begin_ns = np.where(state == "began-before", 0, begin_ns)
    whole = single_interval(int(begin_ns.min()), last_ns)
    return subtracted(whole, merged((begin_ns, np.maximum(end_ns, begin_ns))))
