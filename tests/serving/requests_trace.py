"""Traces of requests to a server, as the probe records them."""

import numpy as np

from perfscope.traces.trace import Trace
from tests.build import Rows, trace

MS = 1_000_000
SECOND = 1_000_000_000


def request_row(arrival_ms: float, e2e_ms: float, **more: object) -> dict[str, object]:
    """Return a complete request."""
    times = {"ts": int(arrival_ms * MS), "dur": int(e2e_ms * MS)}
    return {"source": "code", "state": "complete", "tid": 1, "end_tid": 1, **times, **more}


def cut_row(state: str, ts_ms: float) -> dict[str, object]:
    """Return a request that the beginning or the end of the recording cuts."""
    return {"source": "code", "state": state, "tid": 1, "ts": int(ts_ms * MS), "dur": -1}


def numbered(rows: Rows) -> Rows:
    """Return the rows with the numbers of their requests."""
    return [{"number": number, **row} for number, row in enumerate(rows)]


def requests_trace(rows: Rows, **tables: Rows) -> Trace:
    """Return the trace of a server with these requests."""
    return trace(requests=numbered(rows), **tables)


def exponential_requests(count: int, mean_ms: float, seed: int = 1) -> Rows:
    """Return requests ten milliseconds apart, with independent exponential latencies."""
    latencies = np.random.default_rng(seed).exponential(mean_ms, count)
    return [request_row(10.0 * place, each) for place, each in enumerate(latencies)]
