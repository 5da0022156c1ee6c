"""Requests that a model call passes over, in servers whose requests are recorded: the part of
`queueing` that needs no metrics.

A request is passed over where a call begins after its arrival and does not serve it. That is a
queue: a request that waits only for the call that runs is served by the next one.
"""

from typing import Final

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.serving.batch_replay import ReplaySettings, replayed_change
from perfscope.analyzer.serving.batching_finding_parts import (
    BatchedServer,
    batched_servers,
    fact_of_server,
    finding_on_batches,
    waiting_share,
    with_change,
)
from perfscope.traces.trace import Trace

ADMISSION: Final = "admission-limit"
SATURATED: Final = "saturated"
LARGER: Final = 2
"""By how much a limit is raised: farther from the recorded sizes the time of a batch is not known.
"""
BUSY: Final = 0.7
"""The share of the time from which on a model that is called for one batch at a time is saturated
when requests queue: the rest is between two calls.
"""

RAISE_BATCH = Advice(
    "raise-largest-batch",
    "let the batcher make larger batches",
    "batches-are-full",
    "Requests wait while nearly every batch has the same largest size. Where the recording has"
    " batches of several sizes, one of twice the largest would take less than twice as long.",
)
REDUCE_WORK = Advice(
    "reduce-work-per-request",
    "add a replica on another machine (the prediction is for two that take requests in turn), or"
    " reduce the work per request: shorter inputs, a smaller model, batches",
    "model-is-always-busy",
    "Requests wait for the model, which computes at least 70 % of the time, and batches have no"
    " largest size that could be raised.",
)


def passed_over_ns(server: BatchedServer) -> float:
    """Return the mean time of a request after the model took others instead, in nanoseconds."""
    return server.served.mean_ns(server.served.passed_over_ns)


def queued_in_batches(trace: Trace, limits: Limits) -> tuple[BatchedServer, str] | None:
    """Return the server whose requests are passed over for the largest share of their time, and the
    cause; None where no server has a queue most of the time.
    """
    servers = [each for each in trace.fact(batched_servers) if is_queued_in_batches(each, limits)]
    if not servers:
        return None
    server = max(servers, key=lambda each: passed_over_ns(each) / each.mean_e2e_ns)
    if has_useful_limit(server):
        return server, ADMISSION
    return (server, SATURATED) if server.served.busy_share >= BUSY else None


def is_queued_in_batches(server: BatchedServer, limits: Limits) -> bool:
    """Return whether requests are passed over most of the time, and that costs them enough."""
    lost_ns = passed_over_ns(server)
    is_much = lost_ns >= limits.recoverable_share * server.mean_e2e_ns
    return is_much and waiting_share(server) >= limits.main_cause_share


def has_useful_limit(server: BatchedServer) -> bool:
    """Return whether batches have a largest size, and larger ones would take less time per request,
    if the recorded sizes show it.
    """
    largest = server.policy.largest
    if largest is None or largest < 2:
        return False
    if server.replay is None:
        return True
    step = server.replay.step
    return step.of_size(2 * largest) <= 1.9 * step.of_size(largest)


def finding_on_queue(server: BatchedServer, name: tuple[str, str], limits: Limits) -> Finding:
    """Return the finding; `name` is its id and its cause."""
    lost_ns = passed_over_ns(server)
    message = limit_message if name[1] == ADMISSION else saturation_message
    finding = finding_on_batches(name, server, lost_ns, message(server, lost_ns), limits)
    over = (server.served.passed_over_ns > 0).mean()
    text = f"{percent(over)} of the requests are not in the first batch after their arrival"
    seen = fact_of_server(server, text, float(over), "share")
    finding = msgspec.structs.replace(finding, evidence=[seen, *finding.evidence])
    if name[1] == SATURATED:
        busy = f"the model computes {percent(server.served.busy_share)} of the time"
        policy = server.policy
        largest = 1 if int(server.served.batch_sizes.max()) == 1 else policy.largest
        two = ReplaySettings(policy.window_ns, largest, replicas=2)
        actions = REDUCE_WORK.given(True, busy)
        return with_change(finding, actions, replayed_change(server.replay, two))
    return with_larger_batches(finding, server)


def limit_message(server: BatchedServer, lost_ns: float) -> Message:
    """Return what a limit on the size of batches does."""
    share = percent(lost_ns / server.mean_e2e_ns)
    limit = plural(server.policy.largest or 0, "request")
    return Message(
        f"Queueing: requests wait {share} of their time because batches have at most {limit}",
        explanation=(
            f"Requests are passed over for {ms(lost_ns)} on average, while each batch has {limit}."
        ),
        caveat="A larger batch takes longer, also for the requests that are in it.",
    )


def saturation_message(server: BatchedServer, lost_ns: float) -> Message:
    """Return that more requests arrive than the model can serve."""
    share = percent(lost_ns / server.mean_e2e_ns)
    return Message(
        f"Queueing: the server is saturated, requests wait {share} of their time for the model",
        explanation=(
            f"The model computes {percent(server.served.busy_share)} of the time, and requests wait"
            f" {ms(lost_ns)} on average while it works on others that came before."
        ),
    )


def with_larger_batches(finding: Finding, server: BatchedServer) -> Finding:
    """Return the finding with the advice to raise the limit, and what a replay predicts of it."""
    largest = server.policy.largest or 0
    raised = LARGER * largest
    actions = RAISE_BATCH.given(
        True,
        f"nearly every batch has {plural(largest, 'request')} while others wait",
        text=f"{RAISE_BATCH.text}: raise the limit from {digits(largest)} to {digits(raised)}",
    )
    larger = ReplaySettings(server.policy.window_ns, raised)
    return with_change(finding, actions, replayed_change(server.replay, larger))
