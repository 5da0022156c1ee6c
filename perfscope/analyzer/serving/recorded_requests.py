"""What requests experienced, by the request log: percentiles with their uncertainty, and rates."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from perfscope.analyzer.bootstrap import Floats, interval, resampled_quantiles
from perfscope.analyzer.request_figures import (
    Latency,
    Percentiles,
    Requests,
    RequestStage,
)
from perfscope.analyzer.run.serving_processes import CODE, GENERATE
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.serving.load_curve import highest_rate_per_s, load_points
from perfscope.analyzer.serving.request_log import RequestLog, request_logs
from perfscope.analyzer.serving.request_model_calls import (
    ServedRequests,
    request_frame,
    served_requests,
)
from perfscope.traces.trace import Trace

QUANTILES: Final = (0.5, 0.9, 0.99)
LEVEL: Final = 0.95
PROBE: Final = "probe"
"""The `source` of a latency that the probe measured in the handlers of a web server."""


def requests_by_log(trace: Trace) -> Requests | None:
    """Return the requests that the probe recorded, None where it saw none."""
    logs = trace.fact(request_logs)
    if not logs:
        return None
    stages = {log.process: stages_of_tokens(log) for log in logs}
    stages |= {served.log.process: stages_of(served) for served in trace.fact(served_requests)}
    rows = [
        msgspec.structs.replace(
            requests_of_logs([log], [], stages.get(log.process, [])),
            load=load_points(trace, log.process),
            highest_rate_per_s=highest_rate_per_s(trace, log.process),
        )
        for log in logs
    ]
    return rows[0] if len(rows) == 1 else requests_of_logs(logs, rows, [])


def stages_of(served: ServedRequests) -> list[RequestStage]:
    """Return the mean time of each part of a request; the parts sum to its whole time."""
    means = request_frame(served).mean()
    return [RequestStage(str(name), round(float(mean_ms), 4)) for name, mean_ms in means.items()]


def stages_of_tokens(log: RequestLog) -> list[RequestStage]:
    """Return the mean time until the first token, between tokens, and after the last one of calls
    of `generate`; empty for other requests.
    """
    if log.source != GENERATE:
        return []
    rows = log.undistorted[(column(log.undistorted, "first_token_ns") >= 0)]
    if not len(rows):
        return []
    gaps = log.gaps.groupby("number")["dur"].sum()
    decode_ns = gaps.reindex(rows["number"]).fillna(0).to_numpy(np.float64)
    first_ns = column(rows, "first_token_ns").astype(np.float64)
    parts = {"prefill": first_ns, "decode": decode_ns}
    parts["after"] = np.maximum(column(rows, "dur") - first_ns - decode_ns, 0.0)
    return [RequestStage(name, round(float(part.mean()) / 1e6, 4)) for name, part in parts.items()]


def requests_of_logs(
    logs: Sequence[RequestLog], rows: list[Requests], stages: list[RequestStage]
) -> Requests:
    """Return the requests of some processes together; `rows` are those of each of them."""
    span_s = max(max(log.span_s for log in logs), 1e-9)
    count = sum(len(log.complete) for log in logs)
    tokens = [log.output_tokens for log in logs if log.output_tokens is not None]
    source = CODE if logs[0].source == CODE else PROBE
    weights = series_together([log.gaps["tokens"].to_numpy(np.float64) for log in logs])
    return Requests(
        count=count,
        failed=sum(log.failed for log in logs),
        rate_per_s=round(count / span_s, 4),
        ttft_ms=percentiles_of(series_together([log.ttft_ms for log in logs]), source),
        itl_ms=percentiles_of(series_together([log.itl_ms for log in logs]), source, weights),
        e2e_ms=percentiles_of(series_together([log.e2e_ms for log in logs]), source),
        stages=stages,
        output_tokens_per_s=round(sum(tokens) / span_s, 3) if tokens else None,
        prompt_tokens_per_s=None,
        slo=[],
        per_server=rows,
        process=logs[0].process if len(logs) == 1 else None,
        partial=sum(log.partial for log in logs),
    )


def series_together(parts: Sequence[Floats]) -> Floats:
    """Return several series as one."""
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def percentiles_of(
    values_ms: Floats, source: str, weights: Floats | None = None
) -> Percentiles | None:
    """Return the percentiles of a latency, each with its 95 % interval; None without values.

    A percentile that fewer than one value is expected to exceed is not known: the 99th needs 100.
    """
    if not len(values_ms):
        return None
    counts = np.ones(len(values_ms)) if weights is None else weights
    drawn = resampled_quantiles(values_ms, counts, QUANTILES)
    unknown = Latency(None, None, None, source)
    found = []
    for place, share in enumerate(QUANTILES):
        if len(values_ms) * (1.0 - share) < 1.0 - 1e-9:
            found.append(unknown)
            continue
        low, high = interval(drawn[1:, place], LEVEL)
        value = float(drawn[0, place])
        low, high = min(low, value), max(high, value)
        found.append(Latency(round(value, 4), round(low, 4), round(high, 4), source))
    return Percentiles(*found)
