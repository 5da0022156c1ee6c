"""The KV cache is full: requests wait for it, or are removed from the batch and computed again.

What it means
    Each running request keeps the keys and values of its tokens in the KV cache. When it is full,
    new requests wait, and the engine removes running ones (preemption, retraction). A removed
    request is computed again from its prompt on.

How it is detected
    The cache is at least 90 % full, or too full for one more request like the running ones, and
    either the engine's counter of preemptions grows, or requests wait in at least half of the
    readings. The share of repeated work is estimated: a preempted request repeats its prompt and
    half of its output.

What to do
    Give the cache more memory (`--gpu-memory-utilization`, `--mem-fraction-static`), store it in 8
    bits (`--kv-cache-dtype fp8`), or admit fewer requests at once, so that those that run are not
    removed. An option that limits the number of blocks is removed first.

When it is wrong
    Engines keep unused blocks as prefix cache. Some older versions count these as used: then usage
    is high without preemptions, and only waiting requests count.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.serving.batch_capacity import is_kv_full
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
from perfscope.analyzer.serving.server_load import ServerLoad, highest, mean
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

ID = "kv-cache-pressure"
REPEATED_OUTPUT: Final = 0.5
"""The part of its output that a preempted request has computed, on average."""
MOST_MEMORY: Final = 0.95
"""The share of a device's memory above which engines run out of memory for anything else."""

REMOVE_OVERRIDE = Advice(
    "remove-block-override",
    "remove the option that limits the number of KV-cache blocks",
    "blocks-are-overridden",
    "The engine's configuration sets the number of blocks by hand.",
)
MORE_MEMORY = Advice(
    "raise-memory-share",
    "give the KV cache more of the device's memory",
    "memory-share-is-lower",
    "The engine's share of the device's memory is known and below 95 %.",
)
EIGHT_BITS = Advice(
    "store-kv-cache-in-8-bits",
    "store the KV cache in 8 bits, so that it holds twice as many tokens",
    "kv-cache-has-model-type",
    "The configuration says that the cache has the model's own element type, and a device is used.",
)
FEWER_RUNNING = Advice(
    "admit-fewer-requests",
    "admit only as many requests as the KV cache holds to their end",
    "requests-are-preempted",
    "Running requests are removed from the batch, and more than one runs.",
)


@dataclass(frozen=True)
class Pressure:
    """A server whose KV cache is full: preemptions, and the share of requests' time it costs."""

    load: ServerLoad
    preemptions: float
    repeated_share: float
    queue_share: float

    @property
    def share(self) -> float:
        """The share of the time of requests: they wait, and part of the work is repeated."""
        return 1.0 - (1.0 - self.repeated_share) * (1.0 - self.queue_share)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no requests, or the engine does not export its cache."""
    unmet = missing_requests(trace, limits)
    if unmet is None and all(mean(load.kv_usage) is None for load in used_servers(trace)):
        return Unmet("other", "the engine does not export the use of its KV cache")
    return unmet


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on the server whose KV cache costs most."""
    loads = used_servers(trace)
    cases = [case for load in loads if (case := pressure(load, limits)) is not None]
    worst = max(cases, key=lambda case: case.share, default=None)
    if worst is None or worst.share < limits.worth_share:
        return None
    load = worst.load
    preempted = f", {plural(worst.preemptions, 'preemption')}" if worst.preemptions else ""
    message = Message(
        f"KV-cache pressure: {percent(highest(load.kv_usage))} in use{preempted}"
        f"{at_server(load, loads)}",
        explanation=explanation_of(worst),
        caveat="The share of repeated work is estimated from the mean lengths of requests."
        if worst.preemptions
        else None,
    )
    finding = request_finding((ID, None), load, Loss(worst.share), message, limits)
    return msgspec.structs.replace(
        finding,
        evidence=[*kv_evidence(load), *preemption_evidence(worst), *queue_evidence(load)],
        actions=actions_of(worst, limits),
    )


def pressure(load: ServerLoad, limits: Limits) -> Pressure | None:
    """Return what the KV cache of a server costs, None where it has room."""
    preemptions = load.samples.growth(Meaning.PREEMPTIONS) or 0.0
    is_high = highest(load.kv_usage) >= limits.kv_full
    repeated = repeated_share(load, preemptions) if is_high and preemptions > 0 else 0.0
    waits = load.waiting_share >= limits.main_cause_share and is_kv_full(load, limits)
    queue = load.queue_share if waits and load.queue_share >= limits.recoverable_share else 0.0
    if repeated <= 0.0 and queue <= 0.0:
        return None
    return Pressure(load, preemptions if is_high else 0.0, repeated, queue)


def repeated_share(load: ServerLoad, preemptions: float) -> float:
    """Return the estimated share of computed tokens that preempted requests repeat."""
    samples = load.samples
    # Where nothing finishes, the running requests are those that repeat their work.
    requests = max(samples.finished or 0.0, load.mean_running or 0.0)
    prompt = samples.growth(Meaning.PROMPT_TOKENS) or 0.0
    output = samples.growth(Meaning.OUTPUT_TOKENS) or 0.0
    if requests <= 0.0 or prompt + output <= 0.0:
        return 0.0
    repeated = preemptions * (prompt + REPEATED_OUTPUT * output) / requests
    return repeated / (repeated + prompt + output)


def explanation_of(case: Pressure) -> str:
    """Return what the full cache does to requests."""
    parts = []
    if case.preemptions:
        parts.append(
            f"Requests are removed from the batch {plural(case.preemptions, 'time')} and computed"
            f" again: an estimated {percent(case.repeated_share)} of the work."
        )
    if case.queue_share:
        parts.append(
            f"New requests wait {percent(case.queue_share)} of their time, since the cache has no"
            " room for one more."
        )
    return " ".join(parts)


def preemption_evidence(case: Pressure) -> list[Evidence]:
    """Return the preemptions per finished request."""
    if not case.preemptions:
        return []
    finished = case.load.samples.finished
    per_request = f" for {plural(finished, 'finished request')}" if finished else ""
    text = f"{plural(case.preemptions, 'preemption')}{per_request}"
    return [fact(case.load, text, case.preemptions, "preemptions")]


def actions_of(case: Pressure, limits: Limits) -> list[Action]:
    """Return the changes whose preconditions hold."""
    load = case.load
    config = load.samples.configuration()
    return [
        *remove_override(load, config),
        *more_memory(load, config),
        *eight_bits(load, config),
        *fewer_running(case, limits),
    ]


def remove_override(load: ServerLoad, config: dict[str, str]) -> list[Action]:
    """Return the advice to remove an override of the number of blocks."""
    given = load.samples.settings.get("kv-blocks")
    blocks = given[1] if given is not None else config.get("num_gpu_blocks_override", "None")
    is_set = blocks not in ("None", "")
    name = given[0] if given is not None else "--num-gpu-blocks-override"
    return REMOVE_OVERRIDE.given(is_set, f"{name} {blocks}", text=f"remove {name} {blocks}")


def more_memory(load: ServerLoad, config: dict[str, str]) -> list[Action]:
    """Return the advice to raise the engine's share of memory, where it is known."""
    flag, text = load.samples.settings.get("memory-share", ("", ""))
    is_sglang = load.samples.engine.id == "sglang"
    flag = flag or ("--mem-fraction-static" if is_sglang else "--gpu-memory-utilization")
    try:
        share = float(text or config.get("gpu_memory_utilization", "nan"))
    except ValueError:
        return []
    return MORE_MEMORY.given(
        share < MOST_MEMORY and load.samples.number_setting("cpu-kv-space") is None,
        f"{flag} {share:g}",
        text=f"{MORE_MEMORY.text}: raise {flag} from {share:g} to {MOST_MEMORY:g} at most",
        snippet=f"{flag} {MOST_MEMORY:g}",
    )


def eight_bits(load: ServerLoad, config: dict[str, str]) -> list[Action]:
    """Return the advice to store the cache in 8 bits, where it has the model's element type."""
    flag, text = load.samples.settings.get("kv-type", ("--kv-cache-dtype", ""))
    kind = text or config.get("cache_dtype", "")
    return EIGHT_BITS.given(
        kind in ("auto", "bfloat16", "float16"),
        f"the cache has the element type {kind}",
        snippet=f"{flag} fp8",
    )


def fewer_running(case: Pressure, limits: Limits) -> list[Action]:
    """Return the advice to admit no more requests than the cache holds."""
    load = case.load
    name, fits = option(load, "max-running"), load.most_that_fit
    most = max(int(limits.kv_full * (fits or 0.0)), 1)
    running = load.mean_running or 0.0
    return FEWER_RUNNING.given(
        name is not None and fits is not None and case.preemptions > 0 and most < running + 1,
        f"{plural(case.preemptions, 'preemption')} with {digits(running)} running",
        text=f"{FEWER_RUNNING.text}: set {name} to {most}",
        snippet=f"{name} {most}",
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("engine_metrics",),
    in_traces=False,
    color="exposed-copy",
    advice=(REMOVE_OVERRIDE, MORE_MEMORY, EIGHT_BITS, FEWER_RUNNING),
)
