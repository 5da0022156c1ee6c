"""Requests wait before the engine works on them.

What it means
    The engine takes a limited number of requests into its running batch. Others wait, and their
    time to first token contains that wait. The cause is the engine's own limit (`admission-limit`),
    more requests than the server can finish (`saturated`), or a router that sends one replica more
    than it can take while another has room (`uneven-replicas`).

How it is detected
    With the engine's metrics: requests wait in at least half of the readings, and by Little's law
    they spend at least 5 % of their time waiting. Where the engine's counters of waiting time
    contradict its gauge of waiting requests, the counters are used. `admission-limit`: the batch is
    as large as the limit (option of the command line, exported by the engine, or the plateau that
    the batch never exceeds) in 90 % of these readings, and one more request fits into the KV cache;
    or each step has as many tokens as its option allows. `uneven-replicas`: another server has no
    waiting requests and runs at most half as many. Otherwise `saturated`. Where the KV cache is
    full, the queue belongs to `kv-cache-pressure`.

    Without metrics, in a server whose requests the probe records: in at least half of the time a
    request that has arrived is left out of a model call that began later. These waits are at least
    5 % of the time of all requests. `admission-limit`: nine tenths of the batches that leave
    requests waiting have the same size, the largest one, and a batch of twice that size would take
    less than twice as long. The latter counts only where the recording shows how the time of a call
    depends on its size. Otherwise `saturated`, where the model computes at least 70 % of the time.

What to do
    `admission-limit`: raise the named option. `saturated`: add a replica, or reduce the work per
    request. `uneven-replicas`: let the router choose the replica with the fewest requests.

When it is wrong
    A larger batch makes each decode step longer: where latency per token matters more than the
    queue, a limit can be intended. A client that limits its own concurrency waits outside of the
    engine, where these metrics do not see it.
"""

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.serving.batch_capacity import (
    are_steps_full,
    has_room,
    is_kv_full,
    larger_batch,
    step_tokens,
)
from perfscope.analyzer.serving.batch_queueing import (
    RAISE_BATCH,
    REDUCE_WORK,
    finding_on_queue,
    queued_in_batches,
)
from perfscope.analyzer.serving.batching_finding_parts import missing_batches
from perfscope.analyzer.serving.engine_finding_parts import (
    Loss,
    at_server,
    fact,
    kv_evidence,
    missing_requests,
    option,
    queue_evidence,
    request_finding,
    used_servers,
)
from perfscope.analyzer.serving.filling_batches import filling_batches
from perfscope.analyzer.serving.server_load import ServerLoad, highest
from perfscope.traces.trace import Trace

ID = "queueing"
ADMISSION, SATURATED, UNEVEN = "admission-limit", "saturated", "uneven-replicas"

RAISE_LIMIT = Advice(
    "raise-running-limit",
    "let the engine run more requests at once",
    "batch-is-at-its-limit",
    "Requests wait while the running batch is as large as the engine's limit, and the KV cache has"
    " room for more.",
)
RAISE_TOKENS = Advice(
    "raise-step-tokens",
    "let the engine process more tokens per step",
    "steps-are-full",
    "Requests wait while each step has as many tokens as the engine's command line allows.",
)
ADD_REPLICA = Advice(
    "add-replica",
    "add a replica, or send fewer or shorter requests",
    "no-own-limit-binds",
    "Requests wait, and no limit of the engine that could be raised is reached.",
)
MORE_INSTANCES = Advice(
    "add-model-instances",
    "run more instances of the model",
    "instances-are-busy",
    "Triton: requests wait before an instance is free.",
)
BALANCE = Advice(
    "route-to-least-loaded",
    "route each request to the replica with the fewest waiting and running requests",
    "another-replica-has-room",
    "A replica has no waiting requests and runs at most half as many as the busiest one.",
)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on the server whose requests wait for the largest share of their time."""
    loads = used_servers(trace)
    if not loads:
        return queue_of_batches(trace, limits)
    queued = [load for load in loads if is_queued(load, limits)]
    queued = [load for load in queued if filling_batches(load, limits) is None]
    if not queued:
        return None
    load = max(queued, key=lambda each: each.queue_share)
    free = [other for other in loads if is_free(other, load)]
    if free:
        return uneven_replicas_finding(load, free, limits)
    if is_kv_full(load, limits):
        return None
    is_full, steps_are_full = load.is_at_limit, are_steps_full(load, limits)
    if has_room(load, limits) and (is_full or steps_are_full):
        return admission_limit(load, loads, limits)
    return saturation_finding(load, loads, limits)


def missing_queues(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why queues cannot be checked: neither metrics nor recorded requests."""
    if table(trace, "engine_metrics") is not None:
        return missing_requests(trace, limits)
    return missing_batches(trace, limits)


def queue_of_batches(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on a server whose requests are recorded."""
    queued = queued_in_batches(trace, limits)
    if queued is None:
        return None
    server, cause = queued
    return finding_on_queue(server, (ID, cause), limits)


def is_queued(load: ServerLoad, limits: Limits) -> bool:
    """Return whether requests wait most of the time, for a share of theirs that matters."""
    waiting = load.mean_waiting
    often = load.waiting_share >= limits.main_cause_share
    if load.misses_waiting:
        often = waiting is None or waiting >= limits.main_cause_share
    return often and load.queue_share >= limits.recoverable_share


def is_free(other: ServerLoad, busy: ServerLoad) -> bool:
    """Return whether a replica could take requests that wait at the busy one."""
    running, most = other.mean_running, busy.mean_running
    if other is busy or running is None or not most:
        return False
    return highest(other.waiting) == 0 and running <= 0.5 * most


def admission_limit(load: ServerLoad, loads: list[ServerLoad], limits: Limits) -> Finding:
    """Return the finding that an option of the engine limits the running batch."""
    waits = percent(load.queue_share)
    limit = f"{plural(load.limit or 0.0, 'request')} at once"
    if not load.is_at_limit:
        budget = load.samples.number_setting("max-batched-tokens") or 0.0
        limit = f"{plural(budget, 'token')} per step"
    message = Message(
        f"Queueing: requests wait {waits} of their time at the engine's limit of {limit}"
        f"{at_server(load, loads)}",
        explanation=limit_explanation(load),
        caveat="A larger batch makes each decode step longer.",
    )
    finding = request_finding((ID, ADMISSION), load, Loss(load.queue_share), message, limits)
    return msgspec.structs.replace(
        finding,
        evidence=[*queue_evidence(load), *kv_evidence(load), *limit_evidence(load)],
        actions=[*raise_limit(load, limits), *raise_tokens(load, limits)],
    )


def limit_explanation(load: ServerLoad) -> str:
    """Return why the limit is the cause."""
    usage = load.kv_while_waiting
    room = "" if usage is None else f", although {percent(1.0 - usage)} of the KV cache is free"
    return (
        f"{load.samples.engine.label} runs {plural(load.mean_running or 0.0, 'request')} while"
        f" {digits(load.mean_waiting or 0.0)} wait{room}."
    )


def limit_evidence(load: ServerLoad) -> list[Evidence]:
    """Return how the limit is known, and how full the steps are."""
    facts = []
    if load.limit is not None:
        origin = load.limit_flag or "the largest batch while requests waited"
        text = f"limit of the running batch: {digits(load.limit)} ({origin})"
        facts.append(fact(load, text, load.limit, "requests"))
    tokens = step_tokens(load)
    if tokens is not None:
        facts.append(fact(load, f"{digits(tokens)} tokens per engine step", tokens, "tokens"))
    return facts


def raise_limit(load: ServerLoad, limits: Limits) -> list[Action]:
    """Return the advice to raise the limit on running requests."""
    name, size = option(load, "max-running"), larger_batch(load, limits)
    limit = load.limit or 0.0
    return RAISE_LIMIT.given(
        name is not None and load.is_at_limit and size > limit,
        f"{digits(limit)} running, {digits(load.mean_waiting or 0.0)} waiting",
        text=f"{RAISE_LIMIT.text}: raise {name} from {digits(limit)} to {size}",
        snippet=f"{name} {size}",
    )


def raise_tokens(load: ServerLoad, limits: Limits) -> list[Action]:
    """Return the advice to raise the number of tokens per step."""
    name, tokens = option(load, "max-batched-tokens"), step_tokens(load)
    budget = load.samples.number_setting("max-batched-tokens") or 0.0
    return RAISE_TOKENS.given(
        name is not None and are_steps_full(load, limits),
        f"{digits(tokens or 0.0)} tokens per step of {digits(budget)}",
        text=f"{RAISE_TOKENS.text}: raise {name} from {digits(budget)}",
        snippet=f"{name} {2 * int(budget)}",
    )


def saturation_finding(load: ServerLoad, loads: list[ServerLoad], limits: Limits) -> Finding:
    """Return the finding that more requests arrive than the server finishes."""
    waits = percent(load.queue_share)
    message = Message(
        f"Queueing: the server is saturated, requests wait {waits} of their time"
        f"{at_server(load, loads)}",
        explanation=(
            f"Requests arrive faster than {load.samples.engine.label} finishes them, and no limit"
            " of its own that could be raised is reached."
        ),
    )
    finding = request_finding((ID, SATURATED), load, Loss(load.queue_share), message, limits)
    is_triton = load.samples.engine.id == "triton"
    seen = f"{digits(load.mean_waiting or 0.0)} waiting"
    return msgspec.structs.replace(
        finding,
        evidence=[*queue_evidence(load), *kv_evidence(load)],
        actions=[
            *MORE_INSTANCES.given(is_triton, seen, snippet="instance_group [ { count: 2 } ]"),
            *ADD_REPLICA.given(True, seen),
        ],
    )


def uneven_replicas_finding(load: ServerLoad, free: list[ServerLoad], limits: Limits) -> Finding:
    """Return the finding that requests wait at one replica while another has room."""
    other = min(free, key=lambda each: each.mean_running or 0.0)
    running = digits(other.mean_running or 0.0)
    message = Message(
        f"Queueing: requests wait {percent(load.queue_share)} of their time at {load.name}, while"
        f" {other.name} has none waiting",
        explanation=(
            f"One replica runs {digits(load.mean_running or 0.0)} requests with"
            f" {digits(load.mean_waiting or 0.0)} waiting, the other runs {running}."
        ),
        caveat="Routing by prefix or session keeps caches warm, and can be intended.",
    )
    finding = request_finding((ID, UNEVEN), load, Loss(load.queue_share), message, limits)
    seen = f"{other.name} runs {running} requests and has none waiting"
    return msgspec.structs.replace(
        finding,
        evidence=[*queue_evidence(load), fact(other, seen, other.mean_running or 0.0, "requests")],
        actions=BALANCE.given(True, seen),
    )


RULE = Rule(
    ID,
    missing_queues,
    detect,
    in_traces=False,
    color="other-idle",
    advice=(
        RAISE_LIMIT,
        RAISE_TOKENS,
        ADD_REPLICA,
        MORE_INSTANCES,
        BALANCE,
        RAISE_BATCH,
        REDUCE_WORK,
    ),
)
