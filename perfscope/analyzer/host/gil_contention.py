"""The training thread waits for Python's global interpreter lock while other threads of the process
hold it.

What it means
    Another Python thread of the same process (logging, metrics, a prefetcher, a server) runs Python
    code, and only one thread at a time may. The training thread is ready to go on and cannot.

How it is detected
    The state of the training thread is sampled: the share of samples inside steady steps in which
    it waits for the GIL, with its binomial interval. At least 2 % of the step, and the interval's
    lower end above zero.

What to do
    Move that thread's work to a process (multiprocessing), let it do less or larger pieces in code
    that releases the GIL (numpy, torch, I/O), or sleep longer between its rounds. `perfscope` shows
    the stacks of the other threads.

When it is wrong
    Waiting for the GIL is told by what the thread sleeps on; a lock of a library that looks the
    same may be counted with it. The figure is a share of samples, so short recordings leave it
    wide.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    few_steps,
    rank_of,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.observed_budget import observed_budget
from perfscope.analyzer.categories import (
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    HOST_BOUND,
    PEER_WAIT,
)
from perfscope.analyzer.closed_forms import After, left_alone, speedup
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.host.launch_bound_on_cpu import waiting_for_a_core
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.local_ranks import ranks_at_once
from perfscope.analyzer.run.other_threads import busiest_other_thread
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, manifest, rows_of, uses_device
from perfscope.traces.trace import Trace

ID = "gil-contention"
ACTIONS = [
    Action(
        "move the other thread's Python work into a process of its own",
        "multiprocessing.Process(target=...)",
    ),
    Action(
        "or let it run less often, or in calls that release the GIL (numpy, torch, file and socket"
        " I/O)"
    ),
]


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs steps (or, from outside, a budget of samples) and enough samples in them."""
    few = few_steps(trace, limits)
    seen_outside = trace.fact(observed_budget)
    if few is not None:
        return few if seen_outside is None or seen_outside.state_samples < FEWEST_SAMPLES else None
    process = critical_rank(trace, limits)
    seen = 0 if process is None else samples(trace, process)
    return (
        None
        if seen >= FEWEST_SAMPLES
        else f"needs {FEWEST_SAMPLES} state samples of the training thread, {seen} taken"
    )


def samples(trace: Trace, process: int) -> int:
    """State samples of the training thread between its first and last steady step."""
    rows = steps_of(trace, process)
    states = rows_of(trace, "thread_states", process)
    begin, end = int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    tids = rows["tid"].unique()
    ts = column(None if states is None else states[states["tid"].isin(tids)], "ts")
    return int(((ts >= begin) & (ts < end)).sum())


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The share of the step in which the training thread waits for the GIL."""
    process = critical_rank(trace, limits)
    if process is None:
        return _from_outside(trace, limits)
    rows = steps_of(trace, process)
    step, cost = float(rows["dur"].mean()), float(rows["gil"].mean())
    share, count = cost / step, samples(trace, process)
    error = 1.96 * float(np.sqrt(share * (1.0 - share) / max(count, 1)))
    if share < max(limits.pause_share, limits.worth_share) or share - error <= 0.0:
        return None
    other = busiest_other_thread(trace, process, int(rows["tid"].mode().iloc[0]))
    after = without_contention(trace, rows, error, 0.0 if other is None else other.share, limits)
    rank = rank_of(rows)
    evidence = [
        Evidence(
            text=(
                f"{percent(share)} (+-{percent(error)}) of {count} samples of the training thread"
                f" wait for the GIL: {ms(cost)} a step"
            ),
            value=round(share, 4),
            unit="share",
            rank=rank,
            process=process,
            lane="main",
        )
    ]
    if other is not None:
        evidence.append(
            Evidence(
                f"another thread was seen in `{other.frame}` in {percent(other.share)} of its"
                " samples"
            )
        )
    who = f" Most likely it is the thread in `{other.frame}`." if other is not None else ""
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        rank=rank,
        lost_s=round(cost * len(rows) / 1e9, 4),
        share=round(share, 4),
        speedup=speedup(step, after),
        headline=(
            f"GIL contention: the training thread waits for the GIL {percent(share)} of the time"
        ),
        explanation=f"Other Python threads of its process hold it: {ms(cost)} per step.{who}",
        caveat="More cores would not help: one thread runs Python at a time.",
        evidence=evidence,
        actions=ACTIONS,
    )


def without_contention(
    trace: Trace, rows: pd.DataFrame, error: float, taken: float, limits: Limits
) -> After:
    """The step when nobody else holds the lock; `error` is that of the share, `taken` the cores
    that the other thread uses.
    """
    step, cost = float(rows["dur"].mean()), float(rows["gil"].mean())
    given, most_given = cores_given_back(trace, taken, ranks_at_once(trace))
    # Where there are cores for all, what the thread waits for one is its waking after a wait for
    # the lock, and goes with it.
    waking = (
        0.0 if given else min(waiting_for_a_core(trace, int(rows["process"].iloc[0])), step - cost)
    )
    computing = float((rows[COMPUTE_OR_HOST] + rows[DEVICE_COMPUTE]).mean())
    by = (limits.interrupted, limits.most_interrupted)
    warm, warmest = (left_alone(cost / step, one, on_device=uses_device(trace)) for one in by)
    # What goes into waiting for ranks that have the same thread beside them grows and shrinks with
    # the rest.
    rest = step - float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).mean())
    return After(
        # What the other thread held the lock for may in part be needed by training itself: half of
        # it stays, pessimistically.
        step - 0.5 * max(cost - error * step, 0.0),
        max(1.0 - (cost + waking + computing * given) / rest, 0.05) * step * warm,
        max(1.0 - (cost + waking + error * step + computing * most_given) / rest, 0.05)
        * step
        * warmest,
    )


def cores_given_back(trace: Trace, taken: float, ranks: int) -> tuple[float, float]:
    """By which part of itself the computation of each rank shrinks when `taken` cores are no longer
    used beside it, likely and at most. 0 where there was room for all ranks.

    Likely all of it was taken from torch's threads; at most every parallel region waited for the
    one of them that had to share its core.
    """
    cores, torch = manifest(trace).usable_cores, manifest(trace).torch
    threads = torch.intra_op_threads if torch is not None else 1
    if cores is None or (threads + taken) * ranks <= cores.cores:
        return 0.0, 0.0
    return min(taken * ranks / cores.cores, 0.5), 0.5 * min(taken, 1.0)


def _from_outside(trace: Trace, limits: Limits) -> Finding | None:
    """The share of the main thread's samples, with only a ceiling."""
    seen = trace.fact(observed_budget)
    share = 0.0 if seen is None else seen.shares[HOST_BOUND]
    if seen is None or share < limits.input_share:
        return None
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        rank=seen.rank,
        lost_s=round(share * seen.span_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.01), 3)),
        headline=f"GIL contention: the main thread waits for the GIL {percent(share)} of the time",
        explanation="Other Python threads of its process hold it.",
        caveat="More cores would not help: one thread runs Python at a time.",
        evidence=[
            Evidence(
                text=(
                    f"{percent(share)} of {seen.state_samples} samples of the main thread wait for"
                    " the GIL"
                ),
                value=round(share, 4),
                unit="share",
                rank=seen.rank,
                process=seen.process,
                lane="main",
            )
        ],
        actions=ACTIONS,
    )


RULE = Rule(ID, not_applicable, detect, needs=("thread_states",), category="gil", in_traces=False)
