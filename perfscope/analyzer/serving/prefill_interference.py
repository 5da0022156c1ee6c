"""Long prefills share the steps of decoding requests, whose tokens then come late.

What it means
    An engine step computes one token for each decoding request, and pieces of new prompts. A step
    with a long piece takes many times as long, and every decoding request waits for it: most tokens
    are fast, and some are slow.

How it is detected
    perfscope compares two histograms: latency between tokens, and tokens per step. Steps with more
    tokens than decoding needs are a minority. The mean latency exceeds the upper bound of the
    median's bucket by at least 10 %, because of latencies above twice that bound. The share of such
    latencies is similar to the share of such steps, and no request is preempted meanwhile.

What to do
    Allow fewer tokens per step (`--max-num-batched-tokens`, `--chunked-prefill-size`): prompts are
    then computed in smaller pieces, at the cost of their time to first token. Or serve prefill and
    decode on different replicas.

When it is wrong
    Anything else that delays single steps, such as a pause of the process, looks the same if it
    occurs as often as prefills.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.serving.engine_finding_parts import (
    Loss,
    at_server,
    fact,
    missing_requests,
    option,
    request_finding,
    used_servers,
)
from perfscope.analyzer.serving.histograms import Histogram
from perfscope.analyzer.serving.server_load import ServerLoad, highest
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

ID = "prefill-interference"
NS_PER_S: Final = 1e9
SLOW: Final = 2.0
"""A latency is slow from this multiple of the median on."""
OF_THE_SAME_SIZE: Final = 3.0
"""The slow latencies may be this many times as frequent as the steps with prefills: a request that
is delayed by one of them also queues for the next step.
"""
LEAST_STEP_TOKENS: Final = 512
"""Engines advise against smaller steps: the device is then not busy."""

SMALLER_STEPS = Advice(
    "lower-step-tokens",
    "allow fewer tokens per step, so that prompts are computed in smaller pieces",
    "prefill-steps-are-long",
    "The steps with prefills have more than 512 tokens.",
)


@dataclass(frozen=True)
class Interference:
    """The latencies of one server: how many are slow, and the share of the time that costs."""

    load: ServerLoad
    usual_s: float
    mean_s: float
    slow_share: float
    prefill_share: float
    prefill_tokens: float
    """The lower bound of the tokens in the longest hundredth of the steps."""

    @property
    def share(self) -> float:
        """The share of the time between tokens that exceeds the usual."""
        return 1.0 - self.usual_s / self.mean_s


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no requests, or no histograms of tokens and steps."""
    unmet = missing_requests(trace, limits)
    if unmet is not None:
        return unmet
    for load in used_servers(trace):
        latency, steps = (
            load.samples.histogram(each) for each in (Meaning.ITL, Meaning.STEP_TOKENS)
        )
        if latency is not None and steps is not None:
            few = f"fewer than {limits.fewest_tokens} tokens"
            return Unmet("too-short", few) if latency.count < limits.fewest_tokens else None
    return Unmet("other", "the engine exports no tokens per step")


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on the server whose decoding loses most to prefills."""
    loads = used_servers(trace)
    cases = [case for load in loads if (case := interference(load, limits)) is not None]
    worst = max(cases, key=lambda case: case.share, default=None)
    if worst is None or worst.share < limits.interference_share:
        return None
    load, usual = worst.load, ms(worst.usual_s * NS_PER_S)
    message = Message(
        f"Prefill interference: {percent(worst.slow_share)} of the tokens take more than twice as"
        f" long as usual{at_server(load, loads)}",
        explanation=(
            f"Half of the tokens take at most {usual}, the mean is {ms(worst.mean_s * NS_PER_S)}."
            f" {percent(worst.prefill_share)} of the engine steps also compute prompts."
        ),
        caveat="Smaller pieces of prompts take longer in total: time to first token rises.",
    )
    finding = request_finding((ID, None), load, Loss(worst.share), message, limits)
    return msgspec.structs.replace(
        finding,
        evidence=[
            fact(load, f"usual token: at most {usual}", worst.usual_s * 1e3, "ms"),
            fact(load, f"{percent(worst.slow_share)} slow tokens", worst.slow_share, "share"),
            fact(
                load,
                f"{percent(worst.prefill_share)} of the steps have prefills",
                worst.prefill_share,
                "share",
            ),
        ],
        actions=smaller_steps(worst),
    )


def interference(load: ServerLoad, limits: Limits) -> Interference | None:
    """Return what prefills cost the decoding of a server, None where they do not."""
    latency = load.samples.histogram(Meaning.ITL)
    steps = load.samples.histogram(Meaning.STEP_TOKENS)
    if latency is None or steps is None or latency.count < limits.fewest_tokens:
        return None
    if load.samples.growth(Meaning.PREEMPTIONS):
        return None  # preempted requests are late, and their prompts are computed again
    median, mean_s = latency.quantile(0.5), latency.mean
    if median is None or median.high is None or mean_s is None or mean_s <= median.high:
        return None
    slow = latency.count_above(SLOW * median.high) / latency.count
    prefills = prefill_steps(load, steps, limits)
    is_explained = 0.0 < slow <= OF_THE_SAME_SIZE * prefills
    if not is_explained or prefills >= limits.main_cause_share:
        return None
    longest = steps.quantile(0.99)
    tokens = 0.0 if longest is None else longest.low
    return Interference(load, median.high, mean_s, slow, prefills, tokens)


def prefill_steps(load: ServerLoad, steps: Histogram, limits: Limits) -> float:
    """Return the share of steps that have more tokens than decoding needs."""
    if steps.count <= 0:
        return 0.0
    return steps.count_above(limits.decode_tokens * max(highest(load.running), 1.0)) / steps.count


def smaller_steps(case: Interference) -> list[Action]:
    """Return the advice to allow fewer tokens per step."""
    load = case.load
    name = option(load, "max-batched-tokens")
    budget = load.samples.number_setting("max-batched-tokens") or 2.0 * case.prefill_tokens
    size = max(int(budget / 4), LEAST_STEP_TOKENS)
    return SMALLER_STEPS.given(
        name is not None and case.prefill_tokens > LEAST_STEP_TOKENS and size < budget,
        f"the longest hundredth of the steps has more than {digits(case.prefill_tokens)} tokens",
        text=f"{SMALLER_STEPS.text}: {name} {size}",
        snippet=f"{name} {size}",
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("engine_metrics",),
    in_traces=False,
    color="peer-wait",
    advice=(SMALLER_STEPS,),
)
