"""Many small collectives, each of which costs its latency and hardly moves anything.

What it means
    A collective takes some tens of microseconds however few bytes it moves. One for each parameter,
    or for each number that is averaged, spends the time on starting and on meeting; the links stay
    empty.

How it is detected
    Collectives of less than 1 MiB (below that the time of an all-reduce is its latency, on NVLink
    and on InfiniBand), at least 10 a step, whose exposed time is at least 3 % of the span. Needs
    the sizes that NCCL's and RCCL's metadata give.

What to do
    Put them together: DDP's buckets, `torch.cat` before one `all_reduce`, `all_reduce_coalesced`,
    `foreach` reductions of metrics once in many steps. Faster links would not help.

When it is wrong
    Small collectives of tensor parallelism in decoding are the algorithm's own; there only fewer
    ranks a model help, or one-shot kernels. The gain is a ceiling: the larger collective takes time
    too.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.trace_case import Case, a_step, case_of, no_device
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.overlap import exposed_collectives
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

ID = "small-collectives"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device, collectives and their sizes."""
    missing = no_device(trace)
    if missing is not None:
        return missing
    talks = trace.fact(exposed_collectives)
    if not len(talks):
        return "no communication ran on the device"
    if not (column(talks, "in_bytes") >= 0).any():
        return "the sizes of its collectives are not in the trace (torch 2.4 and newer record them)"
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Exposed time of collectives that move little, when there are many."""
    case = case_of(trace, limits)
    talks = trace.fact(exposed_collectives)
    mine = talks[talks["rank"] == case.unit.rank]
    size = column(mine, "in_bytes")
    small = mine[(size >= 0) & (size < limits.small_collective_bytes)]
    lost = int(column(small, "exposed_ns").sum())
    share = lost / case.span_ns
    if share < limits.worth_share or a_step(case, len(small)) < limits.many_collectives:
        return None
    return _found(case, small, lost, share, limits)


def _found(case: Case, small: pd.DataFrame, lost: int, share: float, limits: Limits) -> Finding:
    usual = float(np.median(column(small, "in_bytes")))
    worst = small.iloc[int(np.argmax(column(small, "exposed_ns")))]
    each = "per step" if case.steps else "in total"
    count = a_step(case, len(small))
    moved = a_step(case, float(column(small, "in_bytes").sum()))
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Small collectives: {percent(share)} of the time is spent in {digits(count)}"
            f" collectives {each}",
            f"They move {megabytes(usual)} each, so that latency and not bandwidth determines their"
            " time.",
            "Faster links would not help; fewer and larger collectives would.",
        ),
        evidence=[
            case.place(
                f"longest of them: {ms(int(worst['dur']))} for"
                f" {megabytes(float(worst['in_bytes']))}",
                worst,
                value_ns=int(worst["dur"]),
                lane="device",
            ),
            case.place(
                f"{digits(count)} collectives {each} move {megabytes(moved)} together in"
                f" {ms(a_step(case, lost))}",
                value_ns=a_step(case, lost),
                lane="device",
            ),
        ],
        actions=[
            Action(
                f"put them together into buckets of 25 MB or more ({digits(np.ceil(moved / 25e6))}"
                " would do)",
                "DistributedDataParallel(model, bucket_cap_mb=25)",
            ),
            Action(
                "or join tensors before one call",
                "dist.all_reduce(torch.cat([t.flatten() for t in tensors]))",
            ),
        ],
    )


RULE = Rule(ID, not_applicable, detect, category=EXPOSED_COMMUNICATION, across_hosts=True)
