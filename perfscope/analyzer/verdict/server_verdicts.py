"""The verdict on a server, by its requests: a finding on them, or healthy."""

import math
from typing import Final

import msgspec

from perfscope.analyzer.diagnosis import BoundBy, Finding, Verdict
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.request_figures import Requests
from perfscope.analyzer.summary.run import Run
from perfscope.analyzer.verdict.confidence import HIGHEST, VerdictConfidence
from perfscope.analyzer.verdict.step_verdicts import finding_verdict

REQUESTS: Final = "requests"
RESOURCES: Final = {
    "queueing/admission-limit": "admission",
    "batching-delay": "admission",
    "kv-cache-pressure": "memory-capacity",
    "host-bound-decode": "host",
    "compile-while-serving": "host",
}
"""The resource that limits the server, by the finding that is the verdict."""


def server_verdict(
    run: Run, costly: list[Finding], found: list[Finding], limits: Limits
) -> Verdict:
    """Return the verdict on a server, by the findings on its requests where it has any.

    `costly` are those of `found` that may be the verdict, also those that are not on requests.
    """
    requests = run.requests
    assert requests is not None
    confidence = confidence_in_requests(requests, limits)
    on_requests = [finding for finding in costly if finding.scope == REQUESTS]
    if on_requests:
        return finding_verdict(on_requests[0], confidence)
    possible = next((each for each in found if each.scope == REQUESTS), None)
    if possible is not None and possible.severity == "info":
        return possible_verdict(possible)
    if requests.is_by_metrics:
        if fewest_readings(requests) < limits.fewest_readings:
            return too_short_verdict(requests)
        if not requests.count and not is_load_known(requests):
            return unknown_load_verdict()
    elif (requests.count or 0) < limits.fewest_requests:
        return too_few_requests(requests)
    if requests.partial > (requests.count or 0):
        return mostly_unfinished(requests)
    return healthy_server(requests, confidence)


def confidence_in_requests(requests: Requests, limits: Limits) -> VerdictConfidence:
    """Return the confidence that the number of readings, or of recorded requests, allows."""
    if requests.is_by_metrics:
        evidence = fewest_readings(requests) / limits.enough_steps
    else:
        evidence = (requests.count or 0) / limits.enough_requests
    trust = min(1.0, math.sqrt(evidence))
    return VerdictConfidence(round(HIGHEST * trust, 3))


def fewest_readings(requests: Requests) -> int:
    """Return how often the page that was read least has been read."""
    return min((server.readings for server in requests.servers), default=0)


def possible_verdict(finding: Finding) -> Verdict:
    """Return the verdict where a finding is only possible."""
    return unknown_on_requests(
        "No certain bottleneck", f"{finding.headline}. {finding.explanation}", finding.caveat
    )


def too_short_verdict(requests: Requests) -> Verdict:
    """Return the verdict on too few readings."""
    return unknown_on_requests(
        f"Too few readings of the metrics: {fewest_readings(requests)}",
        "Rates of a server need several readings.",
        "Record longer: `--duration 60`.",
    )


def is_load_known(requests: Requests) -> bool:
    """Return whether it is known of every server how many requests ran."""
    return all(server.running_mean is not None for server in requests.servers)


def unknown_load_verdict() -> Verdict:
    """Return the verdict where nothing shows whether the server is idle."""
    return unknown_on_requests(
        "The load of the server is unknown", "Its metrics do not contain how many requests run."
    )


def too_few_requests(requests: Requests) -> Verdict:
    """Return the verdict on too few requests."""
    return unknown_on_requests(
        f"Too few requests: {plural(requests.count or 0, 'request')} complete",
        "The percentiles of latencies need more requests.",
        "Record while the server is used, or longer: `--duration 60`.",
    )


def mostly_unfinished(requests: Requests) -> Verdict:
    """Return the verdict where the ends of the recording cut more requests than it completes."""
    return unknown_on_requests(
        f"Most requests were not complete: {requests.partial} were under way when the recording"
        f" began or ended, {requests.count} finished",
        "Those that take longest are not among the finished ones, so their latencies say little.",
        "Record longer. If that changes nothing, more requests arrive than the server finishes.",
    )


def unknown_on_requests(headline: str, explanation: str, caveat: str | None = None) -> Verdict:
    """Return a verdict on requests that says nothing about their time."""
    return Verdict(
        id="unknown",
        cause=None,
        headline=headline,
        explanation=explanation,
        caveat=caveat,
        confidence=0.0,
        scope=REQUESTS,
    )


def healthy_server(requests: Requests, confidence: VerdictConfidence) -> Verdict:
    """Return the verdict that no delay of the requests can be avoided, or that there are none."""
    servers = requests.servers
    running = sum(server.running_mean or 0.0 for server in servers)
    if running <= 0.0 and not requests.count:
        headline = "Healthy: the server is idle, no requests ran"
    else:
        headline = "Healthy: no avoidable delay of the requests was found"
    return Verdict(
        id="healthy",
        cause=None,
        headline=headline,
        explanation=load_text(requests),
        caveat=None,
        confidence=confidence.value,
        scope="requests",
    )


def load_text(requests: Requests) -> str:
    """Return how many requests run and wait, and how full the KV cache is."""
    servers = requests.servers
    if not servers:
        return (
            f"{plural(requests.count or 0, 'request')}, {digits(requests.rate_per_s or 0.0)} per s."
        )
    running = sum_if_all_known([server.running_mean for server in servers])
    waiting = sum_if_all_known([server.waiting_mean for server in servers])
    usage = [server.kv_cache_highest for server in servers if server.kv_cache_highest is not None]
    counts = [f"{plural(running, 'request')} running"] if running is not None else []
    counts += [f"{digits(waiting)} waiting"] if waiting is not None else []
    parts = [f"{' and '.join(counts)} on average"] if counts else []
    if usage:
        parts.append(f"at most {percent(max(usage))} of the KV cache in use")
    return ", ".join(parts) + "." if parts else "The load of the server is unknown."


def sum_if_all_known(values: list[float | None]) -> float | None:
    """Return the sum, None if one of the values is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def bound_by_requests(bound: BoundBy, verdict: Verdict) -> BoundBy:
    """Return the resource that limits a server, where the verdict is a finding that names it."""
    name = verdict.id if verdict.cause is None else f"{verdict.id}/{verdict.cause}"
    resource = RESOURCES.get(name)
    if resource is not None:
        return BoundBy(resource, None, verdict.confidence)
    if verdict.id == "healthy" and verdict.scope == "requests" and bound.id == "unknown":
        return msgspec.structs.replace(bound, id="none", confidence=verdict.confidence)
    return bound
