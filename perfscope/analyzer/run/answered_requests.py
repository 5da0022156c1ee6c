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
