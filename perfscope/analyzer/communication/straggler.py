"""One rank comes last to the collectives, and all the others wait for it.

What it means
    Ranks that train together go at the pace of the slowest: at each collective the devices of the
    others stand in it, busy waiting, until the last has come.

How it is detected
    The same collective is found in the traces of the ranks by its place in the sequence of its
    process group, and the clocks are brought together by the instants at which ranks leave
    collectives. What a device does in a collective before the last rank has come is waiting
    (`peer-wait` in the time budget), as far as no computation hides it. One rank causes at least
    half of all that waiting, and it is 3 % of the others' time or more. The loss is what the others
    wait for that rank, on average: with it as fast as they are, that time is gone. In a live
    recording of several ranks (also of several hosts, each with its run folder) whose steps are
    equally long: how much of them each rank's loop waits outside its loader, from samples of its
    main thread. The rank that waits least is the one that the others wait for, as far as they wait
    longer than chance. A thread that sleeps outside of torch's calls waits for no peer, and
    processes that ran one after the other are no ranks of one job.

What to do
    Look at what that rank does more than the others (the evidence names it): a slower or throttled
    device, more or longer samples, a late input pipeline, a busy host.

When it is wrong
    A rank that leaves every collective later than the others by the same time would be taken for a
    clock that is off. On one host whose cores are full ranks wait for a core in turn; which of them
    had to is chance, and that part is left to the findings about cores. Ranks that are not in the
    recording are not seen: the last of those recorded is named. On a GPU a live recording shows it
    only where the host waits for its peers, as with gloo; what waits in NCCL's kernels needs
    traces.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.categories import (
    CATEGORY,
    CHECKPOINT,
    DEVICE_COMPUTE,
    EXPOSED_COPY,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
    PEER_WAIT,
    SYNC_WAIT,
)
from perfscope.analyzer.communication import straggler_in_live_jobs as lockstep
from perfscope.analyzer.communication.longest_wait import LongestWait, longest_wait
from perfscope.analyzer.communication.rank_skew import rank_skew, slower_kernels
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

ID = "straggler"
ADVICE = {
    DEVICE_COMPUTE: (
        "compare clocks, temperature and power limit of its device, and the sizes of its batches,"
        " with the other ranks'"
    ),
    INPUT_WAIT: "look at the data loader of that rank: its shard, its storage, its cores",
    HOST_BOUND: "look at what else runs on the host of that rank, and at its cores",
    SYNC_WAIT: "look for `.item()` or logging that only that rank does",
    EXPOSED_COPY: "compare the PCIe link and the pinning of its copies with the others'",
    CHECKPOINT: "write in the background, or let another rank write in turn",
    OTHER_IDLE: "look at what its process does then, on the timeline",
}


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs collectives that are seen on two ranks or more, or live ranks that go in step."""
    if (trace.fact(matched_collectives)["match"] >= 0).any():
        return None
    return lockstep.why_not(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The rank that the others wait for, when it is one and costs enough."""
    if not (trace.fact(matched_collectives)["match"] >= 0).any():
        return lockstep.straggler(trace, ID, limits)
    skew = trace.fact(rank_skew)
    whole_ns = int(skew["caused_ns"].sum())
    if whole_ns <= 0:
        return None
    last = skew.iloc[int(np.argmax(column(skew, "caused_ns")))]
    others = skew[skew["rank"] != last["rank"]]
    lost_ns = float(last["caused_ns"]) / len(others)
    share = lost_ns / max(float(others["window_ns"].mean()), 1.0)
    if share < limits.worth_share or float(last["caused_ns"]) < limits.explains * whole_ns:
        return None
    rank = int(last["rank"])
    category, more_ns = differs(last, others)
    what, action = CATEGORY[category].longer, ADVICE[category]
    longer = (
        percent(more_ns / max(float(others[category].median()), 1.0))
        if category == DEVICE_COMPUTE
        else ms(more_ns)
    )
    doing = what.format(longer)
    worst = longest_wait(trace, rank)
    return Finding(
        id=ID,
        cause=lockstep.CAUSES.get(category),
        severity=severity_of(share, limits),
        rank=rank,
        lost_s=round(lost_ns / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=f"Straggler: the other ranks wait {percent(share)} of the time for rank {rank}",
        explanation=(
            f"It is the last to arrive at {int(last['last'])} of"
            f" {plural(int(last['matched']), 'collective')}:"
            f" {doing}{'' if category == CHECKPOINT else ' than the others'}."
        ),
        evidence=[
            *waits(worst, rank, lost_ns, int(last["process"]), int(last["device"])),
            *kernels(trace, rank, int(last["process"]), int(last["device"]), category),
        ],
        actions=[Action(f"rank {rank}: {action}"), *balance(category)],
    )


def differs(last: "pd.Series[int]", others: pd.DataFrame) -> tuple[str, float]:
    """The category of its time budget that this rank spends most more in than the others do, and
    how much, ns.
    """
    more = {name: float(last[name]) - float(others[name].median()) for name in ADVICE}
    category = max(more, key=lambda name: more[name])
    return category, max(more[category], 0.0)


def waits(
    worst: LongestWait | None, rank: int, lost_ns: float, process: int, device: int
) -> list[Evidence]:
    """What the others wait on average, and the longest single wait."""
    told = [
        Evidence(
            text=f"each other rank waits {ms(lost_ns)} for rank {rank}",
            value=round(lost_ns / 1e6, 3),
            unit="ms",
            rank=rank,
            process=process,
            device=device,
        )
    ]
    if worst is not None:
        told.insert(
            0,
            Evidence(
                text=(
                    f"longest: rank {worst.rank} waits {ms(worst.end_ns - worst.start_ns)} in"
                    f" {worst.kind} for rank {rank}"
                ),
                value=round((worst.end_ns - worst.start_ns) / 1e6, 3),
                unit="ms",
                start_ns=worst.start_ns,
                end_ns=worst.end_ns,
                rank=worst.rank,
                process=worst.process,
                lane=f"stream {worst.stream}",
                device=worst.device,
            ),
        )
    return told


def kernels(trace: Trace, rank: int, process: int, device: int, category: str) -> list[Evidence]:
    """The kernels that take this rank longer, where computation is what differs."""
    if category != DEVICE_COMPUTE:
        return []
    slower = slower_kernels(trace, rank).head(3)
    return [
        Evidence(
            text=f"{name}: {ms(own_ns)} on rank {rank}, {ms(usual_ns)} on the others",
            value=round((own_ns - usual_ns) / 1e6, 3),
            unit="ms",
            rank=rank,
            process=process,
            device=device,
        )
        for name, own_ns, usual_ns in zip(
            slower["name"], slower["own_ns"], slower["usual_ns"], strict=True
        )
    ]


def balance(category: str) -> list[Action]:
    """Work may be given out more evenly."""
    if category not in (DEVICE_COMPUTE, INPUT_WAIT):
        return []
    return [
        Action(
            "if its samples are larger: group samples by size, so that every rank gets as much work"
            " in each step"
        )
    ]


RULE = Rule(ID, not_applicable, detect, category=PEER_WAIT, across_hosts=True)
