"""What the findings on requests share: the finding itself, evidence, and the engine's options."""

from dataclasses import dataclass
from typing import Final

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.diagnosis import Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.serving.server_load import ServerLoad, highest, mean, server_loads
from perfscope.traces.trace import Trace

OPTIONS: Final = {
    ("vllm", "max-running"): "--max-num-seqs",
    ("vllm", "max-batched-tokens"): "--max-num-batched-tokens",
    ("sglang", "max-running"): "--max-running-requests",
    ("sglang", "max-batched-tokens"): "--chunked-prefill-size",
    ("llama-cpp", "max-running"): "--parallel",
    ("tgi", "max-running"): "--max-batch-size",
    ("tensorrt-llm", "max-running"): "--max_batch_size",
    ("tensorrt-llm", "max-batched-tokens"): "--max_num_tokens",
    ("lmdeploy", "max-running"): "--max-batch-size",
    ("ray-serve-llm", "max-running"): "engine_kwargs max_num_seqs",
    ("ray-serve-llm", "max-batched-tokens"): "engine_kwargs max_num_batched_tokens",
    ("ray-serve", "max-running"): "max_ongoing_requests",
}
"""The option of each engine that sets something."""


@dataclass(frozen=True)
class Loss:
    """What a finding costs: a share of the time of requests, and whether that is only possible."""

    share: float
    is_only_possible: bool = False
    has_ceiling: bool = True
    """Whether requests take at most `share` less time without the cause."""


def used_servers(trace: Trace) -> list[ServerLoad]:
    """Return the servers that had requests in the recording."""
    return [load for load in trace.fact(server_loads) if load.is_used]


def missing_requests(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why requests cannot be judged: too few readings, or none in which any ran."""
    loads = trace.fact(server_loads)
    if max((load.samples.readings for load in loads), default=0) < limits.fewest_readings:
        return Unmet("too-short", f"fewer than {limits.fewest_readings} readings of its metrics")
    if not used_servers(trace):
        return Unmet("no-requests", "no requests while it was recorded")
    return None


def option(load: ServerLoad, name: str) -> str | None:
    """Return the option that sets something in this engine: as given, or as it is called."""
    given = load.samples.settings.get(name)
    return given[0] if given is not None else OPTIONS.get((load.samples.engine.id, name))


def request_finding(
    name: tuple[str, str | None],
    load: ServerLoad,
    loss: Loss,
    message: Message,
    limits: Limits,
) -> Finding:
    """Return a finding on the requests to a server; `name` is its id and its cause.

    Its lost time is its share of the recording: requests overlap, so their own times add up to
    more.
    """
    share = min(max(loss.share, 0.0), 0.99)
    ceiling = Speedup(None, None, round(1.0 / (1.0 - share), 3)) if loss.has_ceiling else None
    return Finding(
        id=name[0],
        cause=name[1],
        severity="info" if loss.is_only_possible else severity_of(share, limits),
        processes=[load.samples.process] if load.samples.process >= 0 else [],
        lost_s=round(share * load.samples.span_s, 4),
        share=round(share, 4),
        speedup=ceiling,
        headline=message.headline,
        explanation=message.explanation,
        caveat=message.caveat,
        evidence=[],
        actions=[],
        scope="requests",
    )


def queue_evidence(load: ServerLoad) -> list[Evidence]:
    """Return how many requests run and wait, and for how long."""
    facts = []
    waiting, running = load.mean_waiting, load.mean_running
    if waiting is not None:
        share = percent(load.waiting_share)
        text = f"{plural(waiting, 'request')} waiting on average, in {share} of the readings"
        facts.append(fact(load, text, waiting, "requests"))
    if running is not None:
        most = digits(highest(load.running))
        text = f"{plural(running, 'request')} running on average, {most} at most"
        facts.append(fact(load, text, running, "requests"))
    if load.queue_s is not None:
        text = f"a request waits {digits(load.queue_s)} s before it runs"
        facts.append(fact(load, text, load.queue_s, "s"))
    return facts


def kv_evidence(load: ServerLoad) -> list[Evidence]:
    """Return how much of the KV cache is in use."""
    usage = mean(load.kv_usage)
    if usage is None:
        return []
    text = f"{percent(usage)} of the KV cache in use, {percent(highest(load.kv_usage))} at most"
    return [fact(load, text, usage, "share")]


def fact(load: ServerLoad, text: str, value: float, unit: str) -> Evidence:
    """Return a measured value of a server, with the interval of its readings."""
    times_ns = load.samples.times_ns
    return Evidence(
        text=text,
        value=round(value, 4),
        unit=unit,
        start_ns=int(times_ns[0]),
        end_ns=int(times_ns[-1]),
        process=load.samples.process if load.samples.process >= 0 else None,
    )


def at_server(load: ServerLoad, loads: list[ServerLoad]) -> str:
    """Return ` at URL` where there are several servers."""
    return f" at {load.name}" if len(loads) > 1 else ""
