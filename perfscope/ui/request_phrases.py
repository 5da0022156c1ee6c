"""Short texts on the requests to a server: rates, latencies with their intervals, load."""

from dataclasses import dataclass
from typing import Final

from perfscope.analyzer.categories import (
    CATEGORY,
    COMPUTE_OR_HOST,
    HOST_BOUND,
    OTHER_IDLE,
    SYNC_WAIT,
)
from perfscope.analyzer.diagnosis import Action, Diagnosis
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.request_figures import (
    Latency,
    Percentiles,
    Requests,
    ServerFigures,
    ServiceLevel,
)

NS_PER_MS: Final = 1e6
STAGES: Final = {
    "queue": (OTHER_IDLE, "it waits while the model works on other requests"),
    "batching": (SYNC_WAIT, "it waits while the model is idle"),
    "model": (COMPUTE_OR_HOST, "the model works on its batch"),
    "after": (HOST_BOUND, "from the end of the model's call to the answer"),
}
"""The color and the meaning of each part of a request of a server with batches of its own."""
PREDICTED: Final = {
    "ttft_p50_ms": "TTFT p50",
    "ttft_p99_ms": "TTFT p99",
    "itl_p99_ms": "inter-token time p99",
    "e2e_p50_ms": "end to end p50",
    "e2e_p99_ms": "end to end p99",
}
LATENCIES: Final = (
    ("TTFT", "ttft_ms"),
    ("inter-token time", "itl_ms"),
    ("end to end", "e2e_ms"),
)
QUANTILES: Final = ("p50", "p90", "p99")
SERVICE_LEVELS: Final = {"ttft": "TTFT", "itl": "inter-token time", "e2e": "end to end"}


def servers_of(requests: Requests) -> list[Requests]:
    """Return the requests to each server: a row per server, or the only one."""
    return requests.per_server or [requests]


def requests_text(diagnosis: Diagnosis) -> list[str]:
    """Return `1,850 requests in 60 s`, `30.8 requests/s`, `2,460 output tokens/s`.

    Nothing where no requests were recorded.
    """
    requests = diagnosis.requests
    if requests is None:
        return []
    span = f"{digits(diagnosis.span_s)} s"
    if requests.count is None:
        texts = [f"{plural(len(servers_of(requests)), 'server')} read for {span}"]
    else:
        texts = [f"{plural(requests.count, 'request')} finished in {span}"]
    if requests.rate_per_s:
        texts.append(f"{digits(requests.rate_per_s)} requests/s")
    if requests.output_tokens_per_s:
        texts.append(f"{digits(requests.output_tokens_per_s)} output tokens/s")
    if requests.failed:
        texts.append(f"{requests.failed:,} failed")
    if requests.partial:
        texts.append(f"{requests.partial:,} cut by the ends of the recording")
    return texts


def latency_text(latency: Latency) -> str:
    """Return `12 ms (10 to 25 ms)`, `under 300 ms` or `over 80 s`."""
    low, high = (
        None if bound is None else ms(bound * NS_PER_MS) for bound in (latency.low, latency.high)
    )
    if latency.value is not None:
        interval = f" ({low} to {high})" if low is not None and high is not None else ""
        return f"{ms(latency.value * NS_PER_MS)}{interval}"
    if high is not None:
        return f"under {high}"
    return "not known" if low is None else f"over {low}"


def latency_bound_text(latency: Latency) -> str:
    """Return `12 ms`, or the bound that is known: `under 300 ms`; "" for nothing."""
    if latency.value is not None:
        return ms(latency.value * NS_PER_MS)
    text = latency_text(latency)
    return "" if text == "not known" else text


def latency_rows(requests: Requests) -> list[tuple[str, list[str]]]:
    """Return the name of each latency that is known, and the texts of its percentiles."""
    rows = []
    for name, field in LATENCIES:
        known: Percentiles | None = getattr(requests, field)
        if known is not None:
            rows.append((name, [latency_text(getattr(known, each)) for each in QUANTILES]))
    return rows


@dataclass(frozen=True)
class RequestPart:
    """One part of the mean request: its color, its meaning, its share and its label."""

    category: str
    meaning: str
    share: float
    label: str

    @property
    def is_wait(self) -> bool:
        """Whether the request waits in it."""
        return CATEGORY[self.category].is_wait


def request_parts(diagnosis: Diagnosis) -> list[RequestPart]:
    """Return the parts of the mean request; nothing where they are not known to sum to it."""
    requests = diagnosis.requests
    stages = [] if requests is None else requests.stages
    whole_ms = sum(stage.ms for stage in stages)
    if not stages or whole_ms <= 0.0 or any(stage.stage not in STAGES for stage in stages):
        return []
    return [
        RequestPart(
            *STAGES[stage.stage],
            share=stage.ms / whole_ms,
            label=f"{stage.stage} {ms(stage.ms * NS_PER_MS)} ({percent(stage.ms / whole_ms)})",
        )
        for stage in stages
    ]


def service_level_texts(requests: Requests) -> list[str]:
    """Return `TTFT p99 within 500 ms: missed, 97.3 % of the requests are within it`."""
    return [service_level_text(requests, level) for level in requests.slo]


def service_level_text(requests: Requests, level: ServiceLevel) -> str:
    """Return whether a limit was met, and by how much of the traffic."""
    latency, _, quantile = level.metric.partition("_")
    wanted = f"{SERVICE_LEVELS[latency]} {quantile} within {ms(level.limit_ms * NS_PER_MS)}"
    if level.met_share is None:
        return f"{wanted}: not known, this latency was not recorded"
    counted = "tokens" if latency == "itl" else "requests"
    least = "at least " if requests.is_by_metrics else ""
    within = f"{least}{level.met_share * 100:.4g} % of the {counted} are within it"
    return f"{wanted}: {'met' if level.is_met else 'missed'}, {within}"


def load_rows(requests: Requests) -> list[list[str]]:
    """Return for each other rate the requests per second, and the predicted percentiles."""
    return [
        [
            f"{digits(point.requests_per_s)} requests/s",
            *(latency_text(getattr(point.e2e_ms, each)) for each in QUANTILES),
        ]
        for point in requests.load
    ]


def highest_rate_text(requests: Requests) -> str:
    """Return `at most 189 requests/s with full batches`, nothing where that is not known."""
    highest = requests.highest_rate_per_s
    return "" if highest is None else f"at most {digits(highest)} requests/s with full batches"


def prediction_texts(action: Action) -> list[str]:
    """Return `end to end p50 33.3 ms now, predicted 7.6 ms (6.7 ms to 8.8 ms)` per latency."""
    texts = []
    for predicted in action.predictions:
        name = PREDICTED.get(predicted.metric)
        if name is None or predicted.likely is None:
            continue
        before, low, likely, high = (
            ms(value * NS_PER_MS)
            for value in (predicted.before, predicted.low, predicted.likely, predicted.high)
        )
        texts.append(f"{name}: {before} now, predicted {likely} ({low} to {high})")
    return texts


def stage_text(requests: Requests) -> str:
    """Return `queue 4 s, prefill 120 ms, decode 2.1 s`: the mean time of each stage."""
    return ", ".join(f"{stage.stage} {ms(stage.ms * NS_PER_MS)}" for stage in requests.stages)


def load_text_of_server(figures: ServerFigures) -> str:
    """Return how many requests run and wait, and how full the KV cache is."""
    parts = []
    if figures.running_mean is not None:
        limit = "" if figures.running_limit is None else f" of {digits(figures.running_limit)}"
        parts.append(f"{digits(figures.running_mean)}{limit} running")
    if figures.waiting_mean is not None:
        parts.append(f"{digits(figures.waiting_mean)} waiting")
    if figures.kv_cache_mean is not None:
        highest = percent(figures.kv_cache_highest or 0.0)
        parts.append(f"KV cache {percent(figures.kv_cache_mean)} (at most {highest})")
    if figures.preemptions:
        parts.append(plural(figures.preemptions, "preemption"))
    if figures.prefix_hit_share is not None:
        parts.append(f"prefix cache hits {percent(figures.prefix_hit_share)}")
    if figures.accepted_draft_share is not None:
        parts.append(f"{percent(figures.accepted_draft_share)} of drafted tokens accepted")
    return ", ".join(parts)
