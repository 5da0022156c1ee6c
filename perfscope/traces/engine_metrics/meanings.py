"""What a metric of an inference engine measures, whatever its name is in that engine."""

import enum


class Meaning(enum.Enum):
    """A measured quantity. Times are in seconds, shares 0 to 1, counters grow from the start."""

    RUNNING = "requests in the running batch"
    WAITING = "requests that wait to be scheduled"
    BATCH_SIZE = "requests in the current batch"
    KV_USAGE = "share of the KV cache in use"
    KV_TOKENS = "tokens that the KV cache can hold"
    MAX_RUNNING = "most requests in the running batch"
    CONFIGURATION = "settings, as labels"
    FINISHED = "finished requests"
    FAILED = "failed requests"
    ARRIVED = "requests that arrived"
    PROMPT_TOKENS = "prompt tokens"
    OUTPUT_TOKENS = "output tokens"
    CACHED_TOKENS = "prompt tokens that the prefix cache had"
    PREFIX_QUERIES = "prompt tokens looked up in the prefix cache"
    PREFIX_HITS = "prompt tokens found in the prefix cache"
    PREFIX_HIT_SHARE = "share of prompt tokens found in the prefix cache"
    PREEMPTIONS = "requests removed from the running batch"
    DRAFT_TOKENS = "tokens that speculative decoding proposed"
    ACCEPTED_TOKENS = "proposed tokens that were accepted"
    ACCEPTED_SHARE = "share of proposed tokens that was accepted"
    TTFT = "time to first token"
    ITL = "time between two output tokens"
    TOKEN_TIME = "mean time per output token of a request"
    E2E = "time from arrival to the last token"
    QUEUE = "time until the request is scheduled"
    PREFILL = "time of the prefill"
    DECODE = "time of the decoding"
    SERVICE = "time in the running batch"
    STEP_TOKENS = "tokens of an engine step"
    STEPS = "engine steps"
    GRAPH_PASSES = "forward passes, by mode"
    IS_GRAPH = "whether the last forward pass replayed a CUDA graph"
    DEVICE_BUSY = "share of the engine loop in which the device is busy"
    SCHEDULER_CPU = "CPU time of the scheduler process"
    SCHEDULER_IDLE = "time in which the scheduler had no work"
    GRAMMAR_QUEUE = "requests that wait for the compilation of a grammar"


GAUGES = frozenset(
    (
        Meaning.RUNNING,
        Meaning.WAITING,
        Meaning.BATCH_SIZE,
        Meaning.KV_USAGE,
        Meaning.KV_TOKENS,
        Meaning.MAX_RUNNING,
        Meaning.CONFIGURATION,
        Meaning.PREFIX_HIT_SHARE,
        Meaning.ACCEPTED_SHARE,
        Meaning.IS_GRAPH,
        Meaning.DEVICE_BUSY,
        Meaning.GRAMMAR_QUEUE,
    )
)
"""Quantities that are read at an instant; all others grow, as counters or histograms."""
