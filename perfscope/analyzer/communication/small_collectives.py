"""Many small collectives, each of which costs its latency and moves little data.

What it means
    A collective takes some tens of microseconds however few bytes it moves. One for each parameter,
    or for each number that is averaged, spends the time on starting and synchronizing; the links
    are nearly idle.

How it is detected
    Collectives of less than 1 MiB (below that the time of an all-reduce is its latency, on NVLink
    and on InfiniBand), at least 10 per step, whose exposed time is at least 3 % of the span. Needs
    the sizes that NCCL's and RCCL's metadata contain.

What to do
    Combine them: DDP's buckets, `torch.cat` before one `all_reduce`, `all_reduce_coalesced`,
    `foreach` reductions of metrics once in many steps. Faster links would not help.

When it is wrong
    Small collectives of tensor parallelism in decoding belong to the algorithm; only fewer ranks
    per model, or one-shot kernels, help. The speedup is a ceiling: the larger collective takes time
    too.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    mean_per_step,
    missing_device,
    number_per_step,
)
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.collectives_on_links import NO_COLLECTIVES, NO_SIZES
from perfscope.analyzer.communication.overlap import exposed_collectives
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.training_evidence import training_evidence
from perfscope.traces.trace import Trace

ID = "small-collectives"
BUCKET_BYTES = 25e6
"""DDP's default bucket size."""
USE_BUCKETS = Advice(
    id="bucket-gradients",
    text="combine gradients into buckets of 25 MB or more",
    precondition="trains-with-small-collectives",
    holds_when="The process trains, and many collectives per step move less than 1 MiB.",
)
JOIN_TENSORS = Advice(
    id="join-tensors-before-collectives",
    text="join tensors, and make one call for all of them",
    precondition="many-small-collectives",
    holds_when="Many collectives per step move less than 1 MiB.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs a device, collectives and their sizes."""
    unmet = missing_device(trace)
    if unmet is not None:
        return unmet
    collectives = trace.fact(exposed_collectives)
    if not len(collectives):
        return NO_COLLECTIVES
    return None if (column(collectives, "in_bytes") >= 0).any() else NO_SIZES


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the exposed time of collectives that move little, when there are many of them."""
    case = case_of(trace, limits, EXPOSED_COMMUNICATION)
    collectives = trace.fact(exposed_collectives)
    collectives = collectives[collectives["rank"] == case.unit.rank]
    size = column(collectives, "in_bytes")
    small = collectives[(size >= 0) & (size < limits.small_collective_bytes)]
    lost_ns = int(column(small, "exposed_ns").sum())
    share = lost_ns / case.span_ns
    if share < limits.worth_share or number_per_step(case, len(small)) < limits.many_collectives:
        return None
    usual_bytes = float(np.median(column(small, "in_bytes")))
    per = "per step" if case.steps else "in total"
    return case.finding(
        ID,
        lost_ns,
        limits,
        message=Message(
            f"Small collectives: {percent(share)} of the time is spent in"
            f" {digits(number_per_step(case, len(small)))} collectives {per}",
            f"They move {megabytes(usual_bytes)} each, so that latency and not bandwidth determines"
            " their time.",
            "Faster links would not help; fewer and larger collectives would.",
        ),
        evidence=small_collective_evidence(case, small, per),
        actions=combined_collectives(case, small),
    )


def small_collective_evidence(case: Case, small: pd.DataFrame, per: str) -> list[Evidence]:
    """Return the longest of them, and what they move and take per step."""
    worst = small.iloc[int(np.argmax(column(small, "exposed_ns")))]
    worst_ns = int(worst["dur"])
    step_ns = mean_per_step(case, int(column(small, "exposed_ns").sum()))
    count = digits(number_per_step(case, len(small)))
    longest = f"longest of them: {ms(worst_ns)} for {megabytes(float(worst['in_bytes']))}"
    together = (
        f"{count} collectives {per} move {megabytes(bytes_per_step(case, small))} together in"
        f" {ms(step_ns)}"
    )
    return [
        case.timed_evidence(longest, worst, value_ns=worst_ns, lane="device"),
        case.timed_evidence(together, value_ns=step_ns, lane="device"),
    ]


def bytes_per_step(case: Case, small: pd.DataFrame) -> float:
    """Return the bytes that these collectives move per step."""
    return number_per_step(case, float(column(small, "in_bytes").sum()))


def combined_collectives(case: Case, small: pd.DataFrame) -> list[Action]:
    """Return the ways to combine these collectives."""
    training = training_evidence(case.trace, case.unit.process)
    buckets = digits(np.ceil(bytes_per_step(case, small) / BUCKET_BYTES))
    count = f"{digits(number_per_step(case, len(small)))} small collectives per step"
    return [
        *USE_BUCKETS.given(
            training.trains,
            f"{count}; {training.text}",
            text=f"{USE_BUCKETS.text} ({buckets} would be enough)",
            snippet="DistributedDataParallel(model)",
        ),
        *JOIN_TENSORS.given(
            len(small) > 0,
            count,
            snippet="dist.all_reduce(torch.cat([t.flatten() for t in tensors]))",
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=EXPOSED_COMMUNICATION,
    in_windows=True,
    across_hosts=True,
    advice=(USE_BUCKETS, JOIN_TENSORS),
)
