"""What is known of the steps of one process: calls, samples and profiling windows."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.compute_shares import ComputeShares, compute_shares
from perfscope.analyzer.budget.concatenated_threads import ThreadLanes
from perfscope.analyzer.budget.device_evidence import DeviceEvidence, timed_devices
from perfscope.analyzer.budget.loop.data_in_gaps import gaps_load_data
from perfscope.analyzer.budget.loop.host_functions import host_functions
from perfscope.analyzer.run.accelerators.host_copies import host_copies
from perfscope.analyzer.run.loops.batch_inference import pull_loop
from perfscope.analyzer.run.loops.steps import STEADY, steady
from perfscope.analyzer.run.resources.cumulative_counters import grown_in
from perfscope.analyzer.run.serving_processes import answering_processes, times_without_requests
from perfscope.analyzer.run.stacks.sample_shares import (
    NOTHING_SAMPLED,
    Shares,
    state_shares,
    user_code_share,
    weights_by_core,
)
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import Zones, zones
from perfscope.traces.intervals import (
    EMPTY,
    Ints,
    Spans,
    exclusive,
    inside,
    intersected,
    merged,
    subtracted,
)
from perfscope.traces.trace import Trace

TABLES_READ = ("loader", "ranges", "thread_states", "stacks")


@dataclass(frozen=True)
class ZoneAmounts:
    """The time of each step in each zone of its thread, exclusive, ns; they sum to the step."""

    checkpoint: Ints
    input_wait: Ints
    exposed_copy: Ints
    device_wait: Ints
    """In calls that wait for a device, which works meanwhile."""
    gc: Ints
    without_requests: Ints
    """In gaps, while a server has no request."""
    gap: Ints
    """Between the last torch call of a step and the first of the next, without a PyTorch loader."""
    torch: Ints
    """In calls of torch that nothing else in this list covers."""
    other: Ints


@dataclass(frozen=True)
class ZoneShares:
    """Shares of thread states in the samples within each zone; all 0 where nothing was sampled."""

    input: Shares = NOTHING_SAMPLED
    torch: Shares = NOTHING_SAMPLED
    gap: Shares = NOTHING_SAMPLED
    other: Shares = NOTHING_SAMPLED


@dataclass(frozen=True)
class StepEvidence:
    """What the division of the steps of one process is based on.

    Shares are measured on steady steps and applied to all steps.
    """

    steps: pd.DataFrame
    amounts: ZoneAmounts
    shares: ZoneShares
    user_code: float | None
    """The share of stack samples in gaps whose innermost frame is not torch's; None if unknown."""
    window: ComputeShares | None
    """What a profiling window shows of operators; None without a window."""
    device: DeviceEvidence | None
    """What is known of the device; None without one."""
    serves: bool
    """Whether there are steps of inference."""
    gap_is_input: bool
    """Whether the loop provides data in gaps, where stack samples show what it does there."""
    waits_for_requests: bool
    """Whether waits in gaps are for requests, as in a server, and not for data."""


def step_evidence(trace: Trace, process: int, steps: pd.DataFrame) -> StepEvidence:
    """Return what the recording holds on these steps of one process."""
    tables = {name: rows_of(trace, name, process) for name in TABLES_READ}
    tables["copies"] = host_copies(trace, process)
    lanes = ThreadLanes.of(column(steps, "tid"), [steps, *tables.values()])
    concatenated = {name: lanes.concatenate(frame) for name, frame in tables.items()}
    begin = column(steps, "ts") + (lanes.offsets(steps) if len(lanes.tids) > 1 else 0)
    end = begin + column(steps, "dur") + column(steps, "cut")
    thread = zones(
        concatenated["loader"],
        concatenated["ranges"],
        concatenated["copies"],
        int(begin.min()),
        int(end.max()),
    )
    idle = lanes.repeat_on_each(times_without_requests(trace, process))
    thread, without_requests = without_idle_gaps(thread, idle)
    shares = ZoneShares()
    states = concatenated["thread_states"]
    if states is not None:
        sampled = (steps["phase"].isin(STEADY) & ~steps["distorted"]).to_numpy(bool)
        loop = merged((begin[sampled], end[sampled]))
        shares = shares_by_zone(states, thread, loop, runnable_share(trace, process, steps))
    has_gaps = bool(len(thread.gap[0]))
    serves = bool((steps["phase"] == "inference").any())
    has_requests = process in trace.fact(answering_processes)
    is_for_requests = has_requests or not pull_loop(trace, process, steps["tid"], thread.gap)
    return StepEvidence(
        steps=steps,
        amounts=amounts_by_zone(
            thread, without_requests, (begin, end), steps["phase"].to_numpy(str) == "eval"
        ),
        shares=shares,
        user_code=user_code_share(concatenated["stacks"], thread.gap) if has_gaps else None,
        window=trace.fact(compute_shares).get(process),
        device=trace.fact(timed_devices).get(process),
        serves=serves,
        gap_is_input=not has_requests and is_input_in_gaps(trace, process, serves=serves),
        waits_for_requests=serves and is_for_requests,
    )


def is_input_in_gaps(trace: Trace, process: int, *, serves: bool) -> bool:
    """Return whether the gaps are for input; True where nothing is known.

    What a loop of inference does between calls is mostly input, unless its code computes. On a
    device it may wait for results instead.
    """
    if may_read_results(trace, process):
        return trace.fact(gaps_load_data).get(process, False)
    if trace.fact(gaps_load_data).get(process, True):
        return True
    return serves and process not in trace.fact(host_functions)


def may_read_results(trace: Trace, process: int) -> bool:
    """Return whether a loop may copy and read results without being seen.

    The probe times no copies and reads in a program that torch compiles; a window shows them.
    """
    device, ranges = trace.fact(timed_devices).get(process), rows_of(trace, "ranges", process)
    if device is None or device.window is not None:
        return False
    is_timed = host_copies(trace, process) is not None
    return not is_timed and not len(column(rows_of_category(ranges, "sync"), "ts"))


def runnable_share(trace: Trace, process: int, steps: pd.DataFrame) -> float | None:
    """Return the share of the steady steps in which the loop's thread was runnable.

    It then had a core or waited for one. None where that was not read.
    """
    rows = steady(steps)
    tids = rows["tid"].unique()
    if len(tids) != 1:
        return None
    begin = column(rows, "ts")
    loop = merged((begin, begin + column(rows, "dur") + column(rows, "cut")))
    on_core = grown_in(trace, "cpu_ns", process, int(tids[0]), loop)
    queued = grown_in(trace, "run_delay_ns", process, int(tids[0]), loop)
    if on_core is None or queued is None:
        return None
    return (on_core + queued) / float((loop[1] - loop[0]).sum())


def without_idle_gaps(thread: Zones, idle: Spans) -> tuple[Zones, Spans]:
    """Return the zones without the part of the gaps in which a server is idle, and that part."""
    if not len(idle[0]) or not len(thread.gap[0]):
        return thread, EMPTY
    return replace(thread, gap=subtracted(thread.gap, idle)), intersected(thread.gap, idle)


def amounts_by_zone(
    thread: Zones, without_requests: Spans, steps: Spans, is_eval: NDArray[np.bool_]
) -> ZoneAmounts:
    """Return the time of each step in each zone, without the evaluation that interrupts it."""
    begin, end = steps
    evaluation = merged((begin[is_eval], end[is_eval]))
    kinds = [
        thread.checkpoint,
        thread.input_wait,
        thread.exposed_copy,
        thread.device_wait,
        thread.gc,
        without_requests,
        thread.gap,
        thread.torch,
    ]
    with_evaluation = exclusive(kinds, begin, end)
    interrupted, *without = exclusive([evaluation, *kinds], begin, end)
    amounts: list[Ints] = [
        np.where(is_eval, inside_eval, outside_eval)
        for inside_eval, outside_eval in zip(with_evaluation, without, strict=True)
    ]
    dur = end - begin - np.where(is_eval, 0, interrupted)
    checkpoint, input_wait, exposed_copy, device_wait, gc, idle, gap, torch = amounts
    return ZoneAmounts(
        checkpoint=checkpoint,
        input_wait=input_wait,
        exposed_copy=exposed_copy,
        device_wait=device_wait,
        gc=gc,
        without_requests=idle,
        gap=gap,
        torch=torch,
        other=dur - np.sum(amounts, axis=0),
    )


def shares_by_zone(
    states: pd.DataFrame, thread: Zones, loop: Spans, runnable: float | None
) -> ZoneShares:
    """Return the state shares of one thread within `loop`, by zone.

    `runnable` is the share of the loop in which the thread was runnable (None: unknown).
    """
    ts, state = column(states, "ts"), states["state"].astype(str).to_numpy()
    in_loop = inside(loop, ts)
    weights = weights_by_core(state, in_loop, runnable)
    known = merged(thread.checkpoint, thread.input_wait, thread.device_wait, thread.gc)
    free = in_loop & ~inside(known, ts)
    in_input = in_loop & inside(thread.input_wait, ts) & ~inside(thread.checkpoint, ts)
    in_gap = free & inside(thread.gap, ts)
    in_torch = free & ~in_gap & inside(thread.torch, ts)
    return ZoneShares(
        input=state_shares(state, in_input, weights),
        torch=state_shares(state, in_torch, weights),
        gap=state_shares(state, in_gap, weights),
        other=state_shares(state, free & ~in_gap & ~in_torch, weights),
    )
