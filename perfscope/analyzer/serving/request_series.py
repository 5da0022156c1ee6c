"""Requests over time, and the sizes of their batches: what the screens draw."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.serving.request_log import RequestLog, request_logs
from perfscope.analyzer.serving.request_model_calls import ServedRequests, served_requests
from perfscope.traces.trace import Trace

MOST_INTERVALS: Final = 60
FEWEST_PER_INTERVAL: Final = 20
"""Requests that an interval has on average, so that its 90th percentile is that of two of them."""
SHORTEST_INTERVAL_NS: Final = 100_000_000


@dataclass(frozen=True)
class RequestSeries:
    """The requests of a process over time.

    `intervals`: `ts` (the middle, ns), `p50_ms` and `p90_ms` of the requests that arrived, and
    `per_second`. `batches`: `size` and `count` of the model's calls; empty where unknown.
    """

    process: int
    intervals: pd.DataFrame
    batches: pd.DataFrame


def request_series(trace: Trace) -> list[RequestSeries]:
    """Return the requests of each process over time."""
    served = {each.log.process: each for each in trace.fact(served_requests)}
    return [
        RequestSeries(
            process=log.process,
            intervals=latency_intervals(log),
            batches=batch_size_counts(served.get(log.process)),
        )
        for log in trace.fact(request_logs)
        if len(log.complete)
    ]


def latency_intervals(log: RequestLog) -> pd.DataFrame:
    """Return the percentiles and the rate of the requests of each interval."""
    span_ns = max(log.end_ns - log.begin_ns, 1)
    wanted = min(MOST_INTERVALS, max(len(log.complete) // FEWEST_PER_INTERVAL, 1))
    count = max(min(wanted, span_ns // SHORTEST_INTERVAL_NS), 1)
    length_ns = span_ns / count
    place = ((log.arrivals_ns - log.begin_ns) / length_ns).astype(np.int64).clip(0, count - 1)
    e2e_ms = pd.Series(log.durations_ns / 1e6).groupby(place)
    found = pd.DataFrame(
        {"p50_ms": e2e_ms.quantile(0.5), "p90_ms": e2e_ms.quantile(0.9), "count": e2e_ms.size()}
    )
    middle = log.begin_ns + (found.index.to_numpy() + 0.5) * length_ns
    found = found.assign(ts=middle.astype(np.int64))
    return found.assign(per_second=found["count"] / (length_ns / 1e9)).reset_index(drop=True)


def batch_size_counts(served: ServedRequests | None) -> pd.DataFrame:
    """Return how many calls of the model have each number of requests."""
    sizes = np.empty(0, np.int64) if served is None else served.batch_sizes
    different, counts = np.unique(sizes[sizes > 0], return_counts=True)
    return pd.DataFrame({"size": different, "count": counts})
