"""Short texts on the requests to a server: rates, latencies with their intervals, load."""

from typing import Final

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.request_figures import Latency, Percentiles, Requests, ServerFigures

NS_PER_MS: Final = 1e6
LATENCIES: Final = (
    ("TTFT", "ttft_ms"),
    ("inter-token time", "itl_ms"),
    ("end to end", "e2e_ms"),
)
QUANTILES: Final = ("p50", "p90", "p99")


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


def latency_rows(requests: Requests) -> list[tuple[str, list[str]]]:
    """Return the name of each latency that is known, and the texts of its percentiles."""
    rows = []
    for name, field in LATENCIES:
        known: Percentiles | None = getattr(requests, field)
        if known is not None:
            rows.append((name, [latency_text(getattr(known, each)) for each in QUANTILES]))
    return rows


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
