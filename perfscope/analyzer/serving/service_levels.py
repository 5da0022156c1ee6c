"""How much of the traffic met the latencies that the user wants: the field `requests.slo`."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.analyzer.request_figures import Requests, ServiceLevel
from perfscope.analyzer.serving.engine_samples import engine_samples
from perfscope.analyzer.serving.recorded_requests import series_together
from perfscope.analyzer.serving.request_log import RequestLog, request_logs
from perfscope.analyzer.serving.request_summary import MS_PER_S, joined_histogram
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

MEANINGS: Final = {
    "ttft": (Meaning.TTFT,),
    "itl": (Meaning.ITL, Meaning.TOKEN_TIME),
    "e2e": (Meaning.E2E,),
}
"""The histograms of an engine that hold a latency, the first that it has counts."""


def with_service_levels(
    requests: Requests | None, trace: Trace, wanted: Sequence[LatencyLimit]
) -> Requests | None:
    """Return the requests with the share of the traffic that met each limit."""
    if requests is None or not wanted:
        return requests
    levels = [
        ServiceLevel(each.metric, each.limit_ms, rounded_share(met_share(requests, trace, each)))
        for each in wanted
    ]
    return msgspec.structs.replace(requests, slo=levels)


def rounded_share(share: float | None) -> float | None:
    """Return a share with five digits, rounded down: 0.999999 does not become 1."""
    return None if share is None else float(np.floor(share * 1e5) / 1e5)


def met_share(requests: Requests, trace: Trace, wanted: LatencyLimit) -> float | None:
    """Return the share of the traffic within a limit, None where the latency was not recorded."""
    if requests.is_by_metrics:
        return met_by_metrics(trace, wanted)
    return met_by_log(trace.fact(request_logs), wanted)


def met_by_log(logs: Sequence[RequestLog], wanted: LatencyLimit) -> float | None:
    """Return the share of requests within a limit; of tokens, for `itl`."""
    values_ms = series_together([getattr(log, f"{wanted.latency}_ms") for log in logs])
    weights: Floats = np.ones(len(values_ms))
    if wanted.latency == "itl":
        weights = series_together([log.gaps["tokens"].to_numpy(np.float64) for log in logs])
    if not len(values_ms):
        return None
    return float(weights[values_ms <= wanted.limit_ms].sum() / weights.sum())


def met_by_metrics(trace: Trace, wanted: LatencyLimit) -> float | None:
    """Return the share of observations whose whole bucket is within a limit."""
    servers = trace.fact(engine_samples)
    for meaning in MEANINGS[wanted.latency]:
        histogram = joined_histogram([server.histogram(meaning) for server in servers])
        if histogram is not None and histogram.count > 0:
            is_within = histogram.bounds * MS_PER_S <= wanted.limit_ms * (1.0 + 1e-9)
            return float(histogram.counts[is_within].sum()) / histogram.count
    return None
