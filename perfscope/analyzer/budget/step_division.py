"""The division of each step into the categories of the time budget, which sum to it exactly.

Checkpoints, waits for the loader, copies, waits for a device and garbage collections are times of
calls. Samples divide the rest by shares: waits for the GIL, waits for data or requests between
steps, idle time. A profiling window divides what remains into computing, communication and
dispatch; on a device see `device_division`.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.compute_shares import ComputeShares
from perfscope.analyzer.budget.device_division import TimedSteps, with_device_times
from perfscope.analyzer.budget.step_evidence import StepEvidence
from perfscope.analyzer.categories import (
    CATEGORY_IDS,
    CHECKPOINT,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    EXPOSED_COPY,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
)
from perfscope.analyzer.run.loops.steps import STEADY
from perfscope.analyzer.run.stacks.sample_shares import Shares, largest_share
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints


@dataclass(frozen=True)
class GapShares:
    """Shares of the gaps in which the thread does not wait for data, by a profiling window.

    It waits for collectives (`communication`) or calls operators (`operators`).
    """

    communication: float = 0.0
    operators: float = 0.0


@dataclass(frozen=True)
class SampledParts:
    """What samples show of each step, ns: waits for the GIL, waits for data in gaps, idle time."""

    gil_torch: Ints
    gil_input: Ints
    gil_gap: Ints
    gil_other: Ints
    gap_input: Ints
    gap_idle: Ints
    other_idle: Ints

    @property
    def gil(self) -> Ints:
        """All waits for the GIL."""
        return self.gil_torch + self.gil_other + self.gil_gap + self.gil_input


def divide_steps(evidence: StepEvidence) -> pd.DataFrame:
    """Return the steps with a column of ns for each category, and `gc` and `gil`.

    `gc` and `gil` are parts of host-bound.
    """
    amounts, dur = evidence.amounts, column(evidence.steps, "dur")
    gap_shares = gap_shares_of(evidence)
    parts = sampled_parts(evidence, gap_shares)
    gc, gil = amounts.gc, parts.gil
    budget = {
        CHECKPOINT: amounts.checkpoint,
        INPUT_WAIT: amounts.input_wait - parts.gil_input + parts.gap_input,
        EXPOSED_COPY: amounts.exposed_copy,
        DEVICE_COMPUTE: amounts.device_wait,
        HOST_BOUND: gc + gil,
        OTHER_IDLE: parts.other_idle + parts.gap_idle + amounts.without_requests,
    }
    budget[COMPUTE_OR_HOST] = dur - np.sum(list(budget.values()), axis=0)
    assert (budget[COMPUTE_OR_HOST] >= 0).all(), "a step's categories exceed the step"
    if evidence.window is not None:
        divisible = budget[COMPUTE_OR_HOST] - indivisible_time(evidence, parts)
        budget = divide_compute(evidence, budget, np.maximum(divisible, 0), gap_shares)
    if evidence.device is not None:
        steady = evidence.steps["phase"].isin(STEADY) & ~evidence.steps["distorted"]
        timed = TimedSteps(
            dur=dur,
            steady=steady.to_numpy(bool),
            serves=evidence.waits_for_requests,
            host=gc + gil,
            device_waits=amounts.device_wait + amounts.exposed_copy,
        )
        budget = with_device_times(evidence.device, budget, timed)
        gc = np.minimum(gc, budget[HOST_BOUND])
        gil = np.minimum(gil, budget[HOST_BOUND] - gc)
    columns = dict.fromkeys(CATEGORY_IDS, np.zeros(len(dur), np.int64)) | budget
    return evidence.steps.assign(**columns, gc=gc, gil=gil)


def sampled_parts(evidence: StepEvidence, gap_shares: GapShares) -> SampledParts:
    """Return the parts of each step that samples of the thread's state show."""
    amounts, shares = evidence.amounts, evidence.shares
    # A training loop that waits outside torch calls is idle only where it sleeps or does I/O: a
    # lock may be the end of torch's own parallel region.
    sleeps = shares.other.sleeping + shares.other.io
    idle = shares.other.waiting if evidence.serves else sleeps
    gap_input, gap_idle = waits_in_gaps(evidence, gap_shares)
    return SampledParts(
        gil_torch=share_in_ns(amounts.torch, shares.torch.gil),
        gil_input=share_in_ns(amounts.input_wait, shares.input.gil),
        gil_gap=share_in_ns(amounts.gap, shares.gap.gil),
        gil_other=share_in_ns(amounts.other, shares.other.gil),
        gap_input=share_in_ns(amounts.gap, gap_input),
        gap_idle=share_in_ns(amounts.gap, gap_idle),
        other_idle=share_in_ns(amounts.other, min(idle, 1.0 - shares.other.gil)),
    )


def gap_shares_of(evidence: StepEvidence) -> GapShares:
    """Return what a profiling window shows of gaps, at most what samples leave room for.

    Calls of a device may wait for it in any state of the thread.
    """
    window, gap = evidence.window, evidence.shares.gap
    if evidence.device is not None and evidence.device.window is not None:
        calls = evidence.device.window.untimed_calls or 0.0
        return GapShares(operators=min(calls, 1.0 - gap.gil))
    in_gaps = float(evidence.amounts.gap.sum())
    if window is None or evidence.serves or not in_gaps:
        return GapShares()
    in_gaps_and_other = in_gaps + float(evidence.amounts.other.sum())
    communication = window.other_communication * in_gaps_and_other / in_gaps
    # A thread that waits for the threads of an operator is in a lock, too.
    busy = max(1.0 - gap.gil - gap.sleeping - gap.io, 0.0)
    return GapShares(
        communication=min(communication, gap.largest_lock_share),
        operators=min(window.other_calls, largest_share(busy, gap.samples)),
    )


def waits_in_gaps(evidence: StepEvidence, gap_shares: GapShares) -> tuple[float, float]:
    """Return the shares of the gaps that are input wait and idle time.

    The loop loads batches where it runs the user's code, and waits for them where it waits for
    anything but collectives or the threads of operators. Waits for requests are idle time.
    """
    gap: Shares = evidence.shares.gap
    for_requests = gap.waiting if evidence.waits_for_requests else 0.0
    running = max(1.0 - gap.gil - gap.waiting - gap.io, 0.0)
    user_code = running * (evidence.user_code or 0.0)
    loading = min(user_code, max(running - gap_shares.operators, 0.0))
    in_operators = max(gap_shares.operators - running, 0.0)
    waiting = max(gap.waiting - for_requests - gap_shares.communication - in_operators, 0.0)
    idle = min(for_requests, 1.0 - gap.gil)
    if not evidence.gap_is_input:
        return 0.0, min(idle + waiting + gap.io, 1.0 - gap.gil)
    return min(waiting + gap.io + loading, 1.0 - gap.gil - idle), idle


def indivisible_time(evidence: StepEvidence, parts: SampledParts) -> Ints:
    """Return the compute-or-host time that a window does not divide: that between a server's calls.

    There a busy host looks like one that waits for requests.
    """
    amounts = evidence.amounts
    if not evidence.serves:
        return np.zeros(len(amounts.other), np.int64)
    sampled = parts.gil_other + parts.gil_gap + parts.other_idle + parts.gap_idle + parts.gap_input
    return amounts.other + amounts.gap - sampled


def divide_compute(
    evidence: StepEvidence, budget: dict[str, Ints], divisible: Ints, gap_shares: GapShares
) -> dict[str, Ints]:
    """Return the budget with `divisible` ns of compute-or-host divided by what a window shows.

    Operators compute or communicate; a thread that waits while no operator of its own computes is
    idle; the rest is dispatch and Python, which is host-bound.
    """
    amounts, shares, window = evidence.amounts, evidence.shares, window_shares(evidence)
    in_calls = share_in_ns(amounts.torch, window.torch) + share_in_ns(amounts.other, window.other)
    in_gaps = share_in_ns(amounts.gap, min(window.other, gap_shares.operators))
    computes = np.minimum(in_calls + in_gaps, divisible)

    in_torch = min(window.torch_communication, shares.torch.largest_lock_share)
    outside = share_in_ns(amounts.other + amounts.gap, window.other_communication)
    room_in_other = share_in_ns(amounts.other, shares.other.largest_lock_share)
    room_in_gaps = share_in_ns(amounts.gap, gap_shares.communication)
    communicates = share_in_ns(amounts.torch, in_torch) + np.minimum(
        outside, room_in_other + room_in_gaps
    )
    communicates = np.minimum(communicates, divisible - computes)

    left = divisible - computes - communicates
    waits = max(shares.torch.waiting - window.torch - in_torch, 0.0)
    idle = np.minimum(share_in_ns(amounts.torch, waits), left)
    return budget | {
        DEVICE_COMPUTE: budget[DEVICE_COMPUTE] + computes,
        EXPOSED_COMMUNICATION: communicates,
        OTHER_IDLE: budget[OTHER_IDLE] + idle,
        HOST_BOUND: budget[HOST_BOUND] + left - idle,
        COMPUTE_OR_HOST: budget[COMPUTE_OR_HOST] - divisible,
    }


def window_shares(evidence: StepEvidence) -> ComputeShares:
    """Return what a window shows; of a server only what is inside its calls."""
    assert evidence.window is not None
    if evidence.serves:
        return replace(evidence.window, other=0.0, other_communication=0.0)
    return evidence.window


def share_in_ns(amount: Ints, share: float) -> Ints:
    """Return a share of int64 ns, rounded down."""
    part: Ints = np.floor(amount * max(share, 0.0)).astype(np.int64)
    return part
