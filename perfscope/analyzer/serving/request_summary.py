"""What the requests to a server experienced: the field `requests` of the diagnosis.

Each source of requests returns its own summary; the first one that has any is the answer.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.request_figures import (
    Latency,
    Percentiles,
    Requests,
    RequestStage,
    ServerFigures,
)
from perfscope.analyzer.serving.engine_samples import EngineSamples
from perfscope.analyzer.serving.histograms import METRICS, Histogram
from perfscope.analyzer.serving.recorded_requests import requests_by_log
from perfscope.analyzer.serving.server_load import ServerLoad, highest, mean, server_loads
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

MS_PER_S: Final = 1e3
STAGES: Final = (
    ("queue", Meaning.QUEUE),
    ("prefill", Meaning.PREFILL),
    ("decode", Meaning.DECODE),
)


def request_summary(trace: Trace) -> Requests | None:
    """Return what the requests experienced, None where no request source was recorded."""
    return requests_by_metrics(trace) or requests_by_log(trace)


def requests_by_metrics(trace: Trace) -> Requests | None:
    """Return the requests by the metrics of the engines, None without such metrics."""
    loads = trace.fact(server_loads)
    if not loads:
        return None
    rows = [requests_of([load], []) for load in loads]
    return rows[0] if len(rows) == 1 else requests_of(loads, rows)


def requests_of(loads: Sequence[ServerLoad], rows: list[Requests]) -> Requests:
    """Return the requests to some servers together; `rows` are those to each of them."""
    servers = [load.samples for load in loads]
    span_s = max(max(server.span_s for server in servers), 1e-9)
    finished = sum_of_known([server.finished for server in servers])
    output = sum_of_known([server.growth(Meaning.OUTPUT_TOKENS) for server in servers])
    prompt = sum_of_known([server.growth(Meaning.PROMPT_TOKENS) for server in servers])
    failed = sum_of_known([server.growth(Meaning.FAILED) for server in servers])
    return Requests(
        count=None if finished is None else round(finished),
        failed=round(failed or 0.0),
        rate_per_s=None if finished is None else round(finished / span_s, 4),
        ttft_ms=percentiles(servers, (Meaning.TTFT,)),
        itl_ms=percentiles(servers, (Meaning.ITL, Meaning.TOKEN_TIME)),
        e2e_ms=percentiles(servers, (Meaning.E2E,)),
        stages=stages(servers),
        output_tokens_per_s=None if output is None else round(output / span_s, 3),
        prompt_tokens_per_s=None if prompt is None else round(prompt / span_s, 3),
        slo=[],
        per_server=rows,
        server=figures_of(loads[0]) if len(loads) == 1 else None,
    )


def sum_of_known(values: Sequence[float | None]) -> float | None:
    """Return the sum of the known values, None where none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def figures_of(load: ServerLoad) -> ServerFigures:
    """Return the load of one server, rounded."""
    samples = load.samples
    preemptions = samples.growth(Meaning.PREEMPTIONS)
    return ServerFigures(
        engine=samples.engine.id,
        url=samples.url,
        process=samples.process if samples.process >= 0 else None,
        readings=samples.readings,
        span_s=round(samples.span_s, 3),
        running_mean=round_figure(load.mean_running),
        running_highest=round_figure(highest(load.running) if known(load.running) else None),
        running_limit=round_figure(load.limit),
        waiting_mean=round_figure(mean(load.waiting)),
        waiting_highest=round_figure(highest(load.waiting) if known(load.waiting) else None),
        kv_cache_mean=round_figure(mean(load.kv_usage)),
        kv_cache_highest=round_figure(highest(load.kv_usage) if known(load.kv_usage) else None),
        preemptions=None if preemptions is None else round(preemptions),
        prefix_hit_share=round_figure(prefix_hit_share(samples)),
        accepted_draft_share=round_figure(accepted_share(samples)),
        other_metrics=list(samples.other_names),
    )


def known(values: Floats) -> bool:
    """Return whether any value is known."""
    return bool(np.isfinite(values).any())


def round_figure(value: float | None) -> float | None:
    """Return a value with four digits after the point."""
    return None if value is None else round(value, 4)


def prefix_hit_share(samples: EngineSamples) -> float | None:
    """Return the share of prompt tokens that the prefix cache had, None unknown."""
    queries, hits = samples.growth(Meaning.PREFIX_QUERIES), samples.growth(Meaning.PREFIX_HITS)
    if queries and hits is not None:
        return min(hits / queries, 1.0)
    exported = samples.gauge(Meaning.PREFIX_HIT_SHARE)
    return None if exported is None else mean(exported)


def accepted_share(samples: EngineSamples) -> float | None:
    """Return the share of proposed tokens that speculative decoding accepted, None unknown."""
    drafted = samples.growth(Meaning.DRAFT_TOKENS)
    accepted = samples.growth(Meaning.ACCEPTED_TOKENS)
    if drafted and accepted is not None:
        return min(accepted / drafted, 1.0)
    exported = samples.gauge(Meaning.ACCEPTED_SHARE)
    return None if exported is None else mean(exported)


def stages(servers: Sequence[EngineSamples]) -> list[RequestStage]:
    """Return the mean time of each stage that the engines measure, over all their requests."""
    found = []
    for stage, meaning in STAGES:
        weighted = [
            (mean_s, server.finished or 1.0)
            for server in servers
            if (mean_s := server.mean_time(meaning)) is not None
        ]
        whole = sum(weight for _, weight in weighted)
        if whole > 0:
            mean_s = sum(seconds * weight for seconds, weight in weighted) / whole
            found.append(RequestStage(stage, round(mean_s * MS_PER_S, 3)))
    return found


def percentiles(
    servers: Sequence[EngineSamples], meanings: tuple[Meaning, ...]
) -> Percentiles | None:
    """Return the percentiles of a latency by the first of these metrics that the engines have."""
    for meaning in meanings:
        histogram = joined_histogram([server.histogram(meaning) for server in servers])
        if histogram is not None and histogram.count > 0:
            p50, p90, p99 = (latency(histogram, share) for share in (0.5, 0.9, 0.99))
            return Percentiles(p50, p90, p99)
    return None


def joined_histogram(histograms: Sequence[Histogram | None]) -> Histogram | None:
    """Return the observations of several histograms; None where their bounds differ."""
    given = [histogram for histogram in histograms if histogram is not None]
    if not given or any(not np.array_equal(other.bounds, given[0].bounds) for other in given):
        return None
    counts = np.sum([histogram.counts for histogram in given], axis=0)
    return Histogram(given[0].bounds, counts, sum(histogram.total for histogram in given))


def latency(histogram: Histogram, share: float) -> Latency:
    """Return one percentile in milliseconds, with its bucket as interval."""
    found = histogram.quantile(share)
    if found is None:
        return Latency(None, None, None, METRICS)
    value, low, high = (
        None if seconds is None else round(seconds * MS_PER_S, 3)
        for seconds in (found.value, found.low, found.high)
    )
    return Latency(value, low, high, METRICS)
