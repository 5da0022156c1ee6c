"""How much each rank of a live job waits for its peers, from samples of its main thread.

Ranks that synchronize have equally long steps; they differ in how much of them each spends waiting.
The others wait for the rank that waits least: by how much each of them waits longer is its wait for
peers. (Waits of a rank for its own threads occur in all ranks alike and cancel.) A thread that
sleeps outside torch's calls waits for a fixed time, not for a peer: gloo waits in locks and on
sockets, and NCCL's blocking wait sleeps inside a call.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.accelerators.host_copies import host_copies
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.ranks.local_ranks import concurrent_processes
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, WAITING
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.analyzer.run.thread_intervals import zones
from perfscope.traces.intervals import inside, merged
from perfscope.traces.trace import Trace

COLUMNS = ("rank", "process", "host", "group", "step_ns", "samples", "waiting_share", "peer_share")
SHORTEST_OVER_LONGEST = 0.95
"""The shortest mean step over the longest, from which ranks are assumed to wait for each other."""
ERRORS_APART = 2.0
"""Standard errors by which two shares must differ."""


@dataclass(frozen=True)
class WaitSamples:
    """Samples of a loop's thread in its steps, and those that may be waits for peers."""

    taken: int
    waiting: int


def rank_waiting(trace: Trace) -> pd.DataFrame:
    """Return one row per rank with steady steps that worked at the same time as another.

    Empty where nothing was sampled. `group`: the least process code of those that worked at the
    same time (ranks that ran one after the other do not wait for each other); `step_ns`: its mean
    step; `waiting_share`: the share of its samples in these steps in which its loop's thread waits
    outside of the loader, checkpoints and copies; `peer_share`: by how much that is more than in
    the rank that waits least, 0 where the ranks do not step together or the difference may be
    chance.
    """
    states, rows = table(trace, "thread_states"), trace.fact(steps)
    if states is None or not len(rows) or trace.has_profiled_work:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = rows[rows["phase"].isin(("train", "inference")) & ~rows["distorted"]]
    hosts = host_by_process(trace)
    records = []
    for code in np.unique(column(rows, "process")):
        process = int(code)
        of_process = rows[column(rows, "process") == process]
        samples = wait_samples(trace, process, of_process)
        if samples.taken >= FEWEST_SAMPLES:
            record = {
                "rank": int(of_process["rank"].iloc[0]),
                "process": process,
                "host": hosts.get(process, ""),
                "group": min(concurrent_processes(trace, process)),
                "step_ns": float(of_process["dur"].mean()),
                "samples": samples.taken,
                "waiting_share": samples.waiting / samples.taken,
                "peer_share": 0.0,
            }
            records.append(record)
    ranks = pd.DataFrame(records, columns=list(COLUMNS)).sort_values("rank", ignore_index=True)
    groups = [
        group.assign(peer_share=peer_shares(group))
        for _, group in ranks.groupby("group")
        if len(group) > 1
    ]
    return pd.concat(groups).sort_values("rank", ignore_index=True) if groups else ranks.iloc[:0]


def host_by_process(trace: Trace) -> dict[int, str]:
    """Return the host of each process, by its code."""
    processes = table(trace, "processes")
    if processes is None:
        return {}
    hosts = zip(processes["process"], processes["host"], strict=True)
    return {int(code): str(host) for code, host in hosts}


def wait_samples(trace: Trace, process: int, rows: pd.DataFrame) -> WaitSamples:
    """Return the samples of the loop's thread in these steps, and those that may wait for peers.

    Waits for the loader, checkpoints and copies, and sleeps outside torch's calls, are not for
    peers.
    """
    tid = int(rows["tid"].iloc[0])
    states = rows_of(trace, "thread_states", process)
    if states is None:
        return WaitSamples(0, 0)
    states = states[column(states, "tid") == tid]
    ts, begin = column(states, "ts"), column(rows, "ts")
    end = begin + column(rows, "dur")
    frames = (
        rows_of(trace, "loader", process),
        rows_of(trace, "ranges", process),
        host_copies(trace, process),
    )
    loader, ranges, copies = (
        None if frame is None else frame[column(frame, "tid") == tid] for frame in frames
    )
    thread = zones(loader, ranges, copies, int(begin.min()), int(end.max()))
    in_steps = inside(merged((begin, end)), ts)
    known = merged(thread.checkpoint, thread.input_wait, thread.device_wait, thread.gc)
    waits = states["state"].isin(WAITING).to_numpy(bool) & ~inside(known, ts)
    sleeps = (states["state"] == "sleep").to_numpy(bool) & ~inside(thread.torch, ts)
    return WaitSamples(int(in_steps.sum()), int((in_steps & waits & ~sleeps).sum()))


def have_equal_steps(rows: pd.DataFrame) -> bool:
    """Return whether the steps of these ranks are as equal as those of ranks that synchronize."""
    return bool(rows["step_ns"].min() >= SHORTEST_OVER_LONGEST * rows["step_ns"].max())


def peer_shares(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return by how much each rank of a group waits longer than the one that waits least.

    0 where the ranks do not step together or the difference may be chance.
    """
    if not have_equal_steps(rows):
        return np.zeros(len(rows))
    share, count = rows["waiting_share"].to_numpy(np.float64), rows["samples"].to_numpy(np.float64)
    variance = share * (1.0 - share) / count
    least = int(np.argmin(share))
    more = share - share[least]
    error = np.sqrt(variance + variance[least])
    certain: NDArray[np.float64] = np.where(more > ERRORS_APART * error, more, 0.0)
    return certain
