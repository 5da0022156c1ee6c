"""Whether the engine could run more requests at once: what its KV cache and its options allow."""

from perfscope.analyzer.limits import Limits
from perfscope.analyzer.serving.server_load import ServerLoad
from perfscope.traces.engine_metrics.meanings import Meaning

WITHOUT_KV_CACHE = ("triton", "ray-serve")
SLOTS = ("llama-cpp",)
"""Engines that defer a request only when no slot is free."""


def is_kv_full(load: ServerLoad, limits: Limits) -> bool:
    """Return whether one more request like the running ones does not fit into the KV cache."""
    usage, running = load.kv_while_waiting, load.mean_running
    if usage is None or not running:
        return False
    return usage >= limits.kv_full or usage * (running + 1.0) / running > 1.0


def has_room(load: ServerLoad, limits: Limits) -> bool:
    """Return whether more requests fit into memory; False where the engine does not export it."""
    if load.samples.engine.id in SLOTS:
        return True
    return load.kv_while_waiting is not None and not is_kv_full(load, limits)


def step_tokens(load: ServerLoad) -> float | None:
    """Return the mean number of tokens in an engine step, None unknown."""
    return load.samples.mean_time(Meaning.STEP_TOKENS)


def are_steps_full(load: ServerLoad, limits: Limits) -> bool:
    """Return whether the steps process as many tokens as the engine's command line allows."""
    budget, tokens = load.samples.number_setting("max-batched-tokens"), step_tokens(load)
    return budget is not None and tokens is not None and tokens >= limits.full_steps * budget


def larger_batch(load: ServerLoad, limits: Limits) -> int:
    """Return a limit on running requests that removes the queue, within what the KV cache holds.

    It is the next power of two, as the sizes of graphs are.
    """
    wanted = (load.mean_running or 0.0) + (load.mean_waiting or 0.0)
    size = 1
    while size < wanted:
        size *= 2
    fits = load.most_that_fit
    return size if fits is None else max(min(size, int(limits.kv_full * fits)), 1)
