"""The training thread waits for Python's GIL while other threads of the process hold it.

What it means
    Another Python thread of the same process (logging, metrics, a prefetcher, a server) runs Python
    code, and only one thread at a time may. The training thread is ready to run and has to wait.

How it is detected
    The state of the training thread is sampled. In at least 3 % of the samples inside steady steps
    it waits for the GIL, and the lower end of the binomial interval of that share is above zero.

What to do
    Move that thread's work to a process (multiprocessing), reduce it, do it in larger pieces in
    code that releases the GIL (numpy, torch, I/O), or let the thread run less often. The dashboard
    (`perfscope ui`) shows the stacks of the other threads.

When it is wrong
    Waiting for the GIL is recognized by what the thread sleeps on; a lock of a library that looks
    the same may be counted with it. The figure is a share of samples, so short recordings leave its
    interval wide.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice, predict_step_time
from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    missing_steps,
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
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Speedup
from perfscope.analyzer.host.dispatch import waiting_for_a_core
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.ranks.local_ranks import ranks_at_once
from perfscope.analyzer.run.stacks.other_threads import busiest_other_thread
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, manifest, rows_of, uses_device
from perfscope.analyzer.step_time_models import After, speedup, undisturbed_factor
from perfscope.traces.trace import Trace

ID = "gil-contention"
ONE_THREAD = "More cores would not help: one thread runs Python at a time."

MOVE_TO_PROCESS = Advice(
    "move-thread-to-process",
    "move the other thread's Python work into a process of its own",
    "another-thread-holds-gil",
    "The training thread waits for the GIL in at least 3 % of its samples.",
)
RELEASE_GIL = Advice(
    "release-gil-more-often",
    "let the other thread run less often, or in calls that release the GIL (numpy, torch, file and"
    " socket I/O)",
    "another-thread-holds-gil",
    "The training thread waits for the GIL in at least 3 % of its samples.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why waits for the GIL cannot be checked, None where they can.

    That needs steps with enough samples of the training thread. A recording from outside has no
    steps; it needs enough samples of the main thread.
    """
    missing, observed = missing_steps(trace, limits), trace.fact(observed_budget)
    if missing is not None:
        sampled = observed is not None and observed.state_samples >= FEWEST_SAMPLES
        return None if sampled else missing
    process = critical_rank(trace, limits)
    taken = 0 if process is None else state_sample_count(trace, process)
    if taken >= FEWEST_SAMPLES:
        return None
    reason = f"needs {FEWEST_SAMPLES} state samples of the training thread, {taken} taken"
    return Unmet("too-short", reason)


def state_sample_count(trace: Trace, process: int) -> int:
    """Return the number of state samples of the training thread within the steady steps."""
    rows = steps_of(trace, process)
    states = rows_of(trace, "thread_states", process)
    begin, end = int(rows["ts"].min()), int((rows["ts"] + rows["dur"] + rows["cut"]).max())
    of_loop = None if states is None else states[states["tid"].isin(rows["tid"].unique())]
    ts = column(of_loop, "ts")
    return int(((ts >= begin) & (ts < end)).sum())


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the training thread waits for the GIL for enough of a step."""
    process = critical_rank(trace, limits)
    if process is None:
        return gil_finding_from_outside(trace, limits)
    rows = steps_of(trace, process)
    step, cost = float(rows["dur"].mean()), float(rows["gil"].mean())
    share, count = cost / step, state_sample_count(trace, process)
    error = 1.96 * float(np.sqrt(share * (1.0 - share) / max(count, 1)))
    if share < limits.worth_share or share - error <= 0.0:
        return None
    waits = f"{percent(share)} (+-{percent(error)}) of {count} samples of the training thread"
    evidence = [
        Evidence(
            text=f"{waits} wait for the GIL: {ms(cost)} per step",
            value=round(share, 4),
            unit="share",
            process=process,
            lane="main",
        )
    ]
    explanation = f"Other Python threads of its process hold it: {ms(cost)} per step."
    other = busiest_other_thread(trace, process, int(rows["tid"].mode().iloc[0]))
    if other is not None:
        seen = f"`{other.frame}` in {percent(other.share)} of its samples"
        evidence.append(Evidence(f"another thread was seen in {seen}"))
        explanation += f" Most likely it is the thread in `{other.frame}`."
    after = without_contention(trace, rows, error, 0.0 if other is None else other.share, limits)
    gain = speedup(step, after)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        processes=[process],
        lost_s=round(cost * len(rows) / 1e9, 4),
        share=round(share, 4),
        speedup=gain,
        headline=(
            f"GIL contention: the training thread waits for the GIL {percent(share)} of the time"
        ),
        explanation=explanation,
        caveat=ONE_THREAD,
        evidence=evidence,
        actions=predict_step_time(gil_actions(share, count, limits), step, gain),
        where=None if other is None else other.where,
    )


def gil_actions(share: float, samples: int, limits: Limits) -> list[Action]:
    """Return the actions for a thread that waits for the GIL in this share of its samples."""
    waits, evidence = share >= limits.worth_share, f"{percent(share)} of {samples} samples"
    return [
        *MOVE_TO_PROCESS.given(waits, evidence, snippet="multiprocessing.Process(target=...)"),
        *RELEASE_GIL.given(waits, evidence),
    ]


def without_contention(
    trace: Trace, rows: pd.DataFrame, error: float, other_cores: float, limits: Limits
) -> After:
    """Return the step time, in nanoseconds, when no other thread holds the GIL.

    error: half the width of the confidence interval of the share of waits. other_cores: the cores
    that the other thread uses. At worst half of the waits remain, because the training itself may
    need a part of what the other thread does.
    """
    step, cost = float(rows["dur"].mean()), float(rows["gil"].mean())
    uncertain = error * step
    shrinks, shrinks_at_most = computation_saved(trace, other_cores, ranks_at_once(trace))
    # With a core for each thread, the thread waits for a core only after a wait for the GIL.
    core_wait = 0.0
    if not shrinks:
        core_wait = min(waiting_for_a_core(trace, int(rows["process"].iloc[0])), step - cost)
    computing = float((rows[COMPUTE_OR_HOST] + rows[DEVICE_COMPUTE]).mean())
    # Waits for ranks that have the same thread shrink with the rest of the step.
    alone = step - float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).mean())
    saved = cost + core_wait + computing * shrinks
    most_saved = cost + core_wait + uncertain + computing * shrinks_at_most
    on_device = uses_device(trace)
    likely_factor = undisturbed_factor(cost / step, limits.kept_core_saving, on_device=on_device)
    least_factor = undisturbed_factor(
        cost / step, limits.most_kept_core_saving, on_device=on_device
    )
    return After(
        step - 0.5 * max(cost - uncertain, 0.0),
        max(1.0 - saved / alone, 0.05) * step * likely_factor,
        max(1.0 - most_saved / alone, 0.05) * step * least_factor,
    )


def computation_saved(trace: Trace, other_cores: float, ranks: int) -> tuple[float, float]:
    """Return the likely and the largest share of a rank's computation that freed cores save.

    `other_cores` are no longer used by another thread. 0 where there was a core for every thread.
    Likely all of them were taken from torch's threads; at most every parallel region waited for the
    thread that had to share its core.
    """
    cores, torch = manifest(trace).usable_cores, manifest(trace).torch
    threads = torch.intra_op_threads if torch is not None else 1
    if cores is None or (threads + other_cores) * ranks <= cores.cores:
        return 0.0, 0.0
    return min(other_cores * ranks / cores.cores, 0.5), 0.5 * min(other_cores, 1.0)


def gil_finding_from_outside(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding from samples of the main thread, with only a ceiling."""
    seen = trace.fact(observed_budget)
    share = 0.0 if seen is None else seen.shares[HOST_BOUND]
    if seen is None or share < limits.recoverable_share:
        return None
    samples = f"{seen.state_samples} samples of the main thread"
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        processes=[seen.process],
        lost_s=round(share * seen.span_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.01), 3)),
        headline=f"GIL contention: the main thread waits for the GIL {percent(share)} of the time",
        explanation="Other Python threads of its process hold it.",
        caveat=ONE_THREAD,
        evidence=[
            Evidence(
                text=f"{percent(share)} of {samples} wait for the GIL",
                value=round(share, 4),
                unit="share",
                process=seen.process,
                lane="main",
            )
        ],
        actions=gil_actions(share, seen.state_samples, limits),
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    on_host=True,
    needs=("thread_states",),
    category="gil",
    in_traces=False,
    advice=(MOVE_TO_PROCESS, RELEASE_GIL),
    color="host-bound",
)
