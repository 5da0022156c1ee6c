"""What requests experience now, in the newest seconds of a recording.

By the requests that the probe recorded; of an engine by the newest readings of its metrics.
"""

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.serving.engine_samples import EngineSamples, engine_samples
from perfscope.analyzer.serving.request_log import RequestLog, request_logs
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

PACE_NS = 5_000_000_000
"""The newest five seconds."""
MS_PER_S = 1e3


@dataclass(frozen=True)
class LiveRequests:
    """The requests of the last seconds; unknown numbers are None.

    Latencies are medians where each request is recorded, and means by metrics.
    """

    per_s: float | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None
    e2e_ms: float | None = None
    are_means: bool = False


def live_requests(trace: Trace) -> LiveRequests | None:
    """Return the requests of the last seconds, None where none were recorded."""
    samples = trace.fact(engine_samples)
    if samples:
        return newest_by_metrics([newest_readings(each) for each in samples])
    logs = trace.fact(request_logs)
    return newest_by_log(logs) if logs else None


def newest_by_log(logs: list[RequestLog]) -> LiveRequests:
    """Return the figures of the requests that ended last."""
    last_ns = max(log.end_ns for log in logs)
    first_ns = max(last_ns - PACE_NS, min(log.begin_ns for log in logs))
    ended = [log.arrivals_ns + log.durations_ns for log in logs]
    count = sum(int((each > first_ns).sum()) for each in ended)
    first, whole, gaps = ([], [], [])
    for log, end_ns in zip(logs, ended, strict=True):
        is_new = end_ns > first_ns
        token_ns = column(log.complete, "first_token_ns")
        first.append(token_ns[is_new & (token_ns >= 0)] / 1e6)
        whole.append(log.durations_ns[is_new] / 1e6)
        is_new_gap = column(log.gaps, "ts") + column(log.gaps, "dur") > first_ns
        gaps.append(log.itl_ms[is_new_gap])
    span_s = max((last_ns - first_ns) / 1e9, 1e-9)
    return LiveRequests(count / span_s, middle(first), middle(gaps), middle(whole))


def middle(parts: list[Floats]) -> float | None:
    """Return the median of several series together, None without values."""
    values = np.concatenate(parts)
    return float(np.median(values)) if len(values) else None


def newest_readings(samples: EngineSamples) -> EngineSamples:
    """Return the readings of the last seconds, two at least."""
    since_ns = min(int(samples.times_ns[-1]) - PACE_NS, int(samples.times_ns[-2]))
    return replace(samples, rows=samples.rows[column(samples.rows, "ts") >= since_ns])


def newest_by_metrics(servers: list[EngineSamples]) -> LiveRequests:
    """Return the means of the requests that finished between the newest readings."""
    finished = [each.finished for each in servers]
    span_s = max(each.span_s for each in servers)
    known = [each for each in finished if each is not None]
    return LiveRequests(
        per_s=sum(known) / span_s if known and span_s > 0 else None,
        ttft_ms=mean_of_servers(servers, (Meaning.TTFT,)),
        itl_ms=mean_of_servers(servers, (Meaning.ITL, Meaning.TOKEN_TIME)),
        e2e_ms=mean_of_servers(servers, (Meaning.E2E,)),
        are_means=True,
    )


def mean_of_servers(servers: list[EngineSamples], meanings: tuple[Meaning, ...]) -> float | None:
    """Return the mean of a latency in milliseconds, by the first histogram that has any."""
    for meaning in meanings:
        found = [each for server in servers if (each := server.histogram(meaning)) is not None]
        total_s, count = sum(each.total for each in found), sum(each.count for each in found)
        if count > 0 and isfinite(total_s):
            return total_s / count * MS_PER_S
    return None
