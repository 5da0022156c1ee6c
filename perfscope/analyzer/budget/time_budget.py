"""Where the time of each step went: exclusive categories that sum to the step exactly."""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.compute_shares import ComputeShares, compute_shares
from perfscope.analyzer.budget.concatenated_threads import Lanes
from perfscope.analyzer.budget.trace_budget import traced_budget
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
    PEER_WAIT,
)
from perfscope.analyzer.run.batch_inference import pull_loop
from perfscope.analyzer.run.cumulative_counters import grown_in
from perfscope.analyzer.run.rank_waiting import rank_waiting
from perfscope.analyzer.run.sample_shares import (
    NOTHING_SAMPLED,
    Shares,
    at_most,
    state_shares,
    user_code_share,
    weights_by_core,
)
from perfscope.analyzer.run.steps import STEADY, steady, steps
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.analyzer.run.thread_intervals import Zones, zones
from perfscope.traces.intervals import Ints, Spans, exclusive, inside, merged
from perfscope.traces.trace import Trace

TABLES_READ = ("loader", "ranges", "copies", "thread_states", "stacks")


def time_budget(trace: Trace) -> pd.DataFrame:
    """The steps with their time cut into exclusive categories, int64 ns, which sum to `dur` in
    every row.

    Columns: those of `steps`, then every category, and two parts of host_bound: `gc` (garbage
    collections of the loop's thread) and `gil` (waiting for the GIL). For a recorded trace: see
    `traced_budget`. For recordings of our own only checkpoint, input-wait, exposed-copy,
    host-bound, other-idle and compute-or-host (the rest: what computes and what merely dispatches
    share one thread on a CPU) are told apart. The first that applies wins: checkpoint, input-wait
    (asking the loader, building an iterator), copies, GC. Of the rest and of input-wait samples of
    the thread's state give shares: `gil` becomes host-bound; of the rest outside torch calls
    waiting becomes other-idle. Where no PyTorch loader is asked, the time between the last torch
    call of a step and the first of the next is input-wait as far as samples show the user's code or
    a wait there (in a server a wait is other_idle: see `pull_loop`), and compute-or-host else; not
    where a window of torch's profiler shows that it calls operators. Where such a window shows how
    much of the time operators compute, compute-or-host becomes device-compute,
    exposed-communication (collectives and waits for them, no more than samples show the thread in a
    lock) and host-bound in that proportion. Samples in which the thread waits, beyond what its
    operators compute, are other-idle then. What ranks that go in step wait for each other is
    peer-wait (see rank_waiting).
    """
    frame = trace.fact(steps)
    if len(frame) and trace.has_profiled_work:
        return traced_budget(trace, frame)
    if not len(frame):
        return frame.assign(
            **{name: pd.Series(dtype="int64") for name in (*CATEGORY_IDS, "gc", "gil")}
        )
    processes = column(frame, "process")
    parts = [
        _of_process(trace, int(code), frame[processes == code]) for code in np.unique(processes)
    ]
    return with_peer_waits(trace, pd.concat(parts).sort_index())


def with_peer_waits(trace: Trace, budget: pd.DataFrame) -> pd.DataFrame:
    """What ranks that go in step wait for each other, taken out of the time in which nothing tells
    waiting from computing.
    """
    waits = trace.fact(rank_waiting)
    for process, share in zip(waits["process"], waits["peer_share"], strict=True):
        own = (budget["process"] == process).to_numpy(bool)
        left = _part(column(budget, "dur")[own], float(share))
        kept = {HOST_BOUND: column(budget, "gc") + column(budget, "gil")}
        for name in (
            EXPOSED_COMMUNICATION,
            COMPUTE_OR_HOST,
            OTHER_IDLE,
            HOST_BOUND,
            DEVICE_COMPUTE,
        ):
            taken = np.minimum(left, np.maximum(column(budget, name) - kept.get(name, 0), 0)[own])
            budget.loc[own, name] -= taken
            budget.loc[own, PEER_WAIT] += taken
            left = left - taken
    return budget


def steady_budget(trace: Trace) -> pd.DataFrame:
    """The steady rows of `time_budget`."""
    return steady(trace.fact(time_budget))


def _of_process(trace: Trace, process: int, rows: pd.DataFrame) -> pd.DataFrame:
    own = {name: rows_of(trace, name, process) for name in TABLES_READ}
    lanes = Lanes.of(column(rows, "tid"), [rows, *own.values()])
    laid = {name: lanes.laid_out(frame) for name, frame in own.items()}
    begin = column(rows, "ts") + (lanes.offsets(rows) if len(lanes.tids) > 1 else 0)
    end = begin + column(rows, "dur") + column(rows, "cut")
    found = zones(laid["loader"], laid["ranges"], laid["copies"], int(begin.min()), int(end.max()))
    shares = trace.fact(compute_shares).get(process)
    asked = "inference" in set(rows["phase"]) and not pull_loop(
        trace, process, rows["tid"], found.gap
    )
    runnable = _runnable(trace, process, rows)
    return _cut(
        rows, laid["thread_states"], laid["stacks"], found, begin, end, shares, asked, runnable
    )


def _runnable(trace: Trace, process: int, rows: pd.DataFrame) -> float | None:
    """The share of the steady steps in which the loop's thread had a core or waited for one; None
    where that was not read.
    """
    own = steady(rows)
    tids = own["tid"].unique()
    if len(tids) != 1:
        return None
    begin = column(own, "ts")
    loop = merged((begin, begin + column(own, "dur") + column(own, "cut")))
    had, wanted = (
        grown_in(trace, name, process, int(tids[0]), loop) for name in ("cpu_ns", "run_delay_ns")
    )
    return (
        None if had is None or wanted is None else (had + wanted) / float((loop[1] - loop[0]).sum())
    )


def _cut(
    rows: pd.DataFrame,
    states: pd.DataFrame | None,
    stacks: pd.DataFrame | None,
    found: Zones,
    begin: Ints,
    end: Ints,
    computing: ComputeShares | None,
    asked: bool,
    runnable: float | None,
) -> pd.DataFrame:
    dur = column(rows, "dur")
    quiet = rows["phase"].to_numpy(str) == "eval"
    out = _amounts(found, merged((begin[quiet], end[quiet])), begin, end, quiet)
    # What samples say is said of steady steps and applied to them all.
    shares = dict.fromkeys(("torch", "gap", "other", "input"), NOTHING_SAMPLED)
    of_loop = (rows["phase"].isin(STEADY) & ~rows["distorted"]).to_numpy(bool)
    if states is not None:
        shares = shares_by_zone(states, found, merged((begin[of_loop], end[of_loop])), runnable)
    users = user_code_share(stacks, found.gap) if len(found.gap[0]) else None
    serving = bool((rows["phase"] == "inference").any())
    # a training loop that waits between steps waits for its data, a server for requests
    rest = shares["gap"].waiting if asked else 0.0
    talks, calls = _in_gaps(out, shares["gap"], None if serving else computing)
    fed, gil_gap, idle_gap = _split_gap(out["gap"], shares["gap"], users, rest, talks, calls)
    gil_torch, gil_other = (
        _part(out["torch"], shares["torch"].gil),
        _part(out["other"], shares["other"].gil),
    )
    idle = shares["other"].waiting if serving else shares["other"].sleeping + shares["other"].io
    idle_other = _part(out["other"], min(idle, 1.0 - shares["other"].gil))
    gil_input = _part(out[INPUT_WAIT], shares["input"].gil)
    gil = gil_torch + gil_other + gil_gap + gil_input
    budget = {
        CHECKPOINT: out[CHECKPOINT],
        INPUT_WAIT: out[INPUT_WAIT] - gil_input + fed,
        EXPOSED_COPY: out[EXPOSED_COPY],
        HOST_BOUND: out["gc"] + gil,
        OTHER_IDLE: idle_other + idle_gap,
    }
    budget[COMPUTE_OR_HOST] = dur - np.sum(list(budget.values()), axis=0)
    assert (budget[COMPUTE_OR_HOST] >= 0).all(), "a step's categories exceed the step"
    if computing is not None:
        # between the calls of a server nobody can tell a busy host from one that waits for requests
        aside = (
            out["other"] + out["gap"] - gil_other - gil_gap - idle_other - idle_gap - fed
            if serving
            else 0
        )
        room = np.maximum(budget[COMPUTE_OR_HOST] - aside, 0)
        if serving:
            computing = replace(computing, other=0.0, other_talks=0.0)
        budget |= _by_window(budget, out, shares, computing, room, (talks, calls))
    whole = dict.fromkeys(CATEGORY_IDS, np.zeros(len(dur), np.int64)) | budget
    return rows.assign(**whole, gc=out["gc"], gil=gil)


def _by_window(
    budget: dict[str, Ints],
    out: dict[str, Ints],
    shares: dict[str, Shares],
    computing: ComputeShares,
    room: Ints,
    of_gaps: tuple[float, float],
) -> dict[str, Ints]:
    """The categories that change where a window shows what operators do in `room` ns of
    compute-or-host; `of_gaps`: see `_in_gaps`.
    """
    talks, calls = of_gaps
    computes = _part(out["torch"], computing.torch) + _part(out["other"], computing.other)
    computes = np.minimum(computes + _part(out["gap"], min(computing.other, calls)), room)
    told = min(computing.torch_talks, shares["torch"].locked_at_most)
    outside = _part(out["other"] + out["gap"], computing.other_talks)
    room_outside = _part(out["other"], shares["other"].locked_at_most) + _part(out["gap"], talks)
    exposed = np.minimum(
        _part(out["torch"], told) + np.minimum(outside, room_outside), room - computes
    )
    left = room - computes - exposed
    # A thread that waits while no operator of its own computes neither computes nor dispatches.
    waits = shares["torch"].waiting - computing.torch - told
    still = np.minimum(_part(out["torch"], max(waits, 0.0)), left)
    return {
        DEVICE_COMPUTE: computes,
        EXPOSED_COMMUNICATION: exposed,
        OTHER_IDLE: budget[OTHER_IDLE] + still,
        HOST_BOUND: budget[HOST_BOUND] + left - still,
        COMPUTE_OR_HOST: budget[COMPUTE_OR_HOST] - room,
    }


def _amounts(
    found: Zones, evals: Spans, begin: Ints, end: Ints, is_eval: NDArray[np.bool_]
) -> dict[str, Ints]:
    """Nanoseconds per step and zone, evaluation left out of the steps it interrupts."""
    kinds = [
        found.checkpoint,
        found.input_wait,
        found.exposed_copy,
        found.gc,
        found.gap,
        found.torch,
    ]
    names = (CHECKPOINT, INPUT_WAIT, EXPOSED_COPY, "gc", "gap", "torch")
    whole = exclusive(kinds, begin, end)
    without = exclusive([evals, *kinds], begin, end)
    amounts = {
        name: np.where(is_eval, a, b) for name, a, b in zip(names, whole, without[1:], strict=True)
    }
    dur = end - begin - np.where(is_eval, 0, without[0])
    amounts["other"] = dur - np.sum(list(amounts.values()), axis=0)
    return amounts


def shares_by_zone(
    states: pd.DataFrame, found: Zones, loop: Spans, runnable: float | None
) -> dict[str, Shares]:
    """State shares of one thread inside torch calls, in gaps, and in the rest of the loop's
    time.
    """
    ts, state = column(states, "ts"), states["state"].astype(str).to_numpy()
    weights = weights_by_core(state, inside(loop, ts), runnable)
    taken = merged(found.checkpoint, found.input_wait, found.exposed_copy, found.gc)
    free = inside(loop, ts) & ~inside(taken, ts)
    in_input = inside(loop, ts) & inside(found.input_wait, ts) & ~inside(found.checkpoint, ts)
    in_gap = free & inside(found.gap, ts)
    in_torch = free & ~in_gap & inside(found.torch, ts)
    return {
        "input": state_shares(state, in_input, weights),
        "torch": state_shares(state, in_torch, weights),
        "gap": state_shares(state, in_gap, weights),
        "other": state_shares(state, free & ~in_gap & ~in_torch, weights),
    }


def _in_gaps(
    out: dict[str, Ints], gap: Shares, computing: ComputeShares | None
) -> tuple[float, float]:
    """Shares of the gaps in which, by a window, the thread waits for collectives, and in which it
    calls operators: no waiting for data. No more of either than samples leave room for.
    """
    length = float(out["gap"].sum())
    if computing is None or not length:
        return 0.0, 0.0
    talks = computing.other_talks * (length + float(out["other"].sum())) / length
    busy = max(
        1.0 - gap.gil - gap.sleeping - gap.io, 0.0
    )  # in a lock stands also who waits for the threads of an operator
    return min(talks, gap.locked_at_most), min(computing.other_calls, at_most(busy, gap.samples))


def _split_gap(
    gap: Ints, shares: Shares, users: float | None, rest: float, talks: float, calls: float
) -> tuple[Ints, Ints, Ints]:
    """(input-wait, waiting for the GIL, idle) parts of the gaps, ns: the rest stays
    compute-or-host.

    `rest`: the share of the waits in which the loop has nothing to do; `talks` and `calls`: see
    `_in_gaps`.
    """
    running = max(1.0 - shares.gil - shares.waiting - shares.io, 0.0)
    making = min(running * (users or 0.0), max(running - calls, 0.0))
    waits = max(shares.waiting - rest - talks - max(calls - running, 0.0), 0.0)
    fed = waits + shares.io + making
    idle = min(rest, 1.0 - shares.gil)
    return _part(gap, min(fed, 1.0 - shares.gil - idle)), _part(gap, shares.gil), _part(gap, idle)


def _part(amount: Ints, share: float) -> Ints:
    """A share of int64 ns, rounded down."""
    part: Ints = np.floor(amount * max(share, 0.0)).astype(np.int64)
    return part
