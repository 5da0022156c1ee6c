"""One rank arrives last at the collectives, and all other ranks wait for it.

What it means
    Ranks that train together run at the pace of the slowest: at each collective the devices of the
    others wait, busy, until the last rank has arrived.

How it is detected
    The same collective is identified in the traces of the ranks by its position in the sequence of
    its process group. Clocks are aligned by the instants at which ranks leave collectives. The time
    that a device spends in a collective before the last rank has arrived is waiting (`peer-wait` in
    the time budget), unless computation overlaps it. One rank causes at least half of all that
    waiting, and it is 3 % of the others' time or more. The loss is the mean time that the others
    wait for that rank: if it were as fast as they are, that time would be saved. In a live
    recording of several ranks (also on several hosts, each with its run folder), ranks are compared
    if their steps are equally long. Samples of the main threads show for which part of its steps
    each rank waits outside its loader. The rank that waits least is the one that the others wait
    for, if they wait longer than by chance. A thread that sleeps outside of torch's calls does not
    wait for a peer, and processes that ran one after the other are not ranks of one job.

What to do
    Check what that rank does longer than the others (the evidence names it): a slower or throttled
    device, more or longer samples, a late input pipeline, a busy host.

When it is wrong
    A rank that leaves every collective later than the others by the same time looks like a clock
    offset. On one host whose cores are full, ranks wait for a core in turn; which of them does is
    chance, and the findings about cores count that part. Ranks that were not recorded are not seen:
    the last of the recorded ranks is named. On a GPU a live recording shows it only where the host
    waits for its peers, as with gloo; waiting inside NCCL's kernels needs traces.
"""

import msgspec
import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.categories import CATEGORY, CHECKPOINT, DEVICE_COMPUTE, PEER_WAIT
from perfscope.analyzer.communication import straggler_in_live_jobs
from perfscope.analyzer.communication.longest_wait import LongestWait, longest_wait
from perfscope.analyzer.communication.rank_skew import rank_skew, slower_kernels
from perfscope.analyzer.communication.straggler_advice import (
    BY_CATEGORY,
    CAUSES,
    STRAGGLER_ADVICE,
    actions_in_traces,
)
from perfscope.analyzer.diagnosis import Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_window import window_trace
from perfscope.analyzer.run.budget_units import units
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

ID = "straggler"
MOST_KERNELS = 3


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs collectives recorded on two ranks or more, or live ranks that step together.
    """
    if matched_trace(trace) is not None:
        return None
    return straggler_in_live_jobs.not_comparable(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the rank that the others wait for, when it costs enough."""
    matched = matched_trace(trace)
    if matched is not None:
        finding = straggler_in_traces(matched, limits)
        return finding if finding is None or matched is trace else over_steps(trace, finding)
    return straggler_in_live_jobs.straggler_of_live_job(trace, ID, limits)


def matched_trace(trace: Trace) -> Trace | None:
    """Return the trace in which a collective was recorded on two ranks or more, None for none.

    For a recording on devices it is that of their profiling windows.
    """
    shown = trace.fact(window_trace) or trace
    is_matched = bool((shown.fact(matched_collectives)["match"] >= 0).any())
    return shown if is_matched and units(shown) else None


def over_steps(recording: Trace, finding: Finding) -> Finding:
    """Return a finding about a profiling window as one about the steady steps of the recording."""
    rows = recording.fact(steady_budget)
    of_process = rows[rows["process"].isin(finding.processes)]
    steps_s = float(column(of_process, "dur").sum()) / 1e9 / max(len(finding.processes), 1)
    lost_s = round(finding.share * steps_s, 6)
    return msgspec.structs.replace(finding, scope="steps", lost_s=lost_s)


def straggler_in_traces(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the rank that causes most of the waiting in collectives."""
    skew = trace.fact(rank_skew)
    whole_ns = int(skew["caused_ns"].sum())
    if whole_ns <= 0:
        return None
    last = skew.iloc[int(np.argmax(column(skew, "caused_ns")))]
    others = skew[skew["rank"] != last["rank"]]
    caused_ns = float(last["caused_ns"])
    lost_ns = caused_ns / len(others)
    share = lost_ns / max(float(others["window_ns"].mean()), 1.0)
    if share < limits.worth_share or caused_ns < limits.main_cause_share * whole_ns:
        return None
    rank = int(last["rank"])
    category, more_ns = most_excessive_category(last, others)
    excess = excess_text(category, more_ns, others)
    compared = excess if category == CHECKPOINT else f"{excess} than the others"
    arrivals = f"{int(last['last'])} of {plural(int(last['matched']), 'collective')}"
    return Finding(
        id=ID,
        cause=CAUSES.get(category),
        severity=severity_of(share, limits),
        lost_s=round(lost_ns / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share),
        headline=f"Straggler: the other ranks wait {percent(share)} of the time for rank {rank}",
        explanation=f"It is the last to arrive at {arrivals}: {compared}.",
        evidence=[
            *rank_wait_evidence(longest_wait(trace, rank), last, lost_ns),
            *slower_kernel_evidence(trace, last, category),
        ],
        actions=actions_in_traces(category, more_ns, rank, excess),
        processes=[int(last["process"])],
        devices=[int(last["device"])],
    )


def most_excessive_category(last: "pd.Series[int]", others: pd.DataFrame) -> tuple[str, float]:
    """Return the category that this rank spends most more time in than the others, and that ns."""
    more_ns = {name: float(last[name]) - float(others[name].median()) for name in BY_CATEGORY}
    category = max(more_ns, key=lambda name: more_ns[name])
    return category, max(more_ns[category], 0.0)


def excess_text(category: str, more_ns: float, others: pd.DataFrame) -> str:
    """Return what the rank does longer, and by how much."""
    amount = ms(more_ns)
    if category == DEVICE_COMPUTE:
        amount = percent(more_ns / max(float(others[category].median()), 1.0))
    return CATEGORY[category].longer.format(amount)


def rank_wait_evidence(
    worst: LongestWait | None, last: "pd.Series[int]", lost_ns: float
) -> list[Evidence]:
    """Return the longest single wait for the rank, and the mean wait of the others."""
    rank = int(last["rank"])
    mean = Evidence(
        text=f"each other rank waits {ms(lost_ns)} for rank {rank}",
        value=round(lost_ns / 1e6, 3),
        unit="ms",
        process=int(last["process"]),
        device=int(last["device"]),
    )
    if worst is None:
        return [mean]
    waited_ns = worst.end_ns - worst.start_ns
    longest = Evidence(
        text=f"longest: rank {worst.rank} waits {ms(waited_ns)} in {worst.kind} for rank {rank}",
        value=round(waited_ns / 1e6, 3),
        unit="ms",
        start_ns=worst.start_ns,
        end_ns=worst.end_ns,
        process=worst.process,
        lane=f"stream {worst.stream}",
        device=worst.device,
    )
    return [longest, mean]


def slower_kernel_evidence(trace: Trace, last: "pd.Series[int]", category: str) -> list[Evidence]:
    """Return the kernels that take this rank longer, where computation is what differs."""
    if category != DEVICE_COMPUTE:
        return []
    rank = int(last["rank"])
    slower = slower_kernels(trace, rank).head(MOST_KERNELS)
    columns = (slower[name] for name in ("name", "own_ns", "usual_ns"))
    return [
        Evidence(
            text=f"{name}: {ms(taken_ns)} on rank {rank}, {ms(usual_ns)} on the others",
            value=round((taken_ns - usual_ns) / 1e6, 3),
            unit="ms",
            process=int(last["process"]),
            device=int(last["device"]),
        )
        for name, taken_ns, usual_ns in zip(*columns, strict=True)
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=PEER_WAIT,
    across_hosts=True,
    advice=STRAGGLER_ADVICE,
)
