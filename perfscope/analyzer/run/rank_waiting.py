"""How much each rank of a live job waits for its peers, from what its main thread does while they
go in step.

Ranks that synchronise have equally long steps; what differs is how much of them each spends
waiting. The rank that waits least is the one the others wait for: what they wait more than it is
waiting for peers. (A wait at a barrier of the rank's own threads is on all of them and falls out.)
A thread that sleeps outside torch's calls waits for a time, not for a peer: gloo waits in locks and
on sockets, and NCCL's blocking wait sleeps inside a call.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.local_ranks import mates
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES, WAITING
from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.analyzer.run.thread_intervals import zones
from perfscope.traces.intervals import inside, merged
from perfscope.traces.trace import Trace

COLUMNS = ("rank", "process", "host", "group", "step_ns", "samples", "waiting_share", "peer_share")
IN_STEP = 0.95
"""The shortest mean step over the longest, from which on the ranks are taken to wait for each
other.
"""
SURE = 2.0
"""Standard errors that two shares must differ by."""


def rank_waiting(trace: Trace) -> pd.DataFrame:
    """One row for each rank with steady steps, of those that worked at the same time as another;
    empty where nothing was sampled.

    `group`: the least process code of those that worked at the same time (those that ran one after
    the other wait for nobody); `step_ns`: its mean step; `waiting_share`: of its samples in these
    steps those in which its loop's thread waits outside of the loader, checkpoints and copies;
    `peer_share`: what of the steps it waits longer than the rank that waits least, 0 where the
    ranks do not go in step or the difference is no larger than chance.
    """
    states, rows = table(trace, "thread_states"), trace.fact(steps)
    if states is None or not len(rows) or trace.has_profiled_work:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = rows[rows["phase"].isin(("train", "inference")) & ~rows["distorted"]]
    hosts = host_by_process(trace)
    found = []
    for process in np.unique(column(rows, "process")):
        own = rows[column(rows, "process") == process]
        samples, waiting = _sampled(trace, int(process), own)
        if samples >= FEWEST_SAMPLES:
            rank, step = int(own["rank"].iloc[0]), float(own["dur"].mean())
            group = min(mates(trace, int(process)))
            found.append(
                (
                    rank,
                    int(process),
                    hosts.get(int(process), ""),
                    group,
                    step,
                    samples,
                    waiting / samples,
                    0.0,
                )
            )
    table_ = pd.DataFrame(found, columns=list(COLUMNS)).sort_values("rank", ignore_index=True)
    groups = [
        own.assign(peer_share=_peer_shares(own))
        for _, own in table_.groupby("group")
        if len(own) > 1
    ]
    return pd.concat(groups).sort_values("rank", ignore_index=True) if groups else table_.iloc[:0]


def host_by_process(trace: Trace) -> dict[int, str]:
    """The host of each process, by its code."""
    processes = table(trace, "processes")
    if processes is None:
        return {}
    return {
        int(code): str(host)
        for code, host in zip(processes["process"], processes["host"], strict=True)
    }


def _sampled(trace: Trace, process: int, own: pd.DataFrame) -> tuple[int, int]:
    """(samples of the loop's thread in its steps, those that may wait for peers: not for loader,
    checkpoint, copy, time).
    """
    tid = int(own["tid"].iloc[0])
    states = rows_of(trace, "thread_states", process)
    if states is None:
        return 0, 0
    states = states[column(states, "tid") == tid]
    begin = column(own, "ts")
    ts = column(states, "ts")
    here = inside(merged((begin, begin + column(own, "dur"))), ts)
    mine = (rows_of(trace, name, process) for name in ("loader", "ranges", "copies"))
    loop = [None if one is None else one[column(one, "tid") == tid] for one in mine]
    known = zones(
        loop[0], loop[1], loop[2], int(begin.min()), int((begin + column(own, "dur")).max())
    )
    accounted = inside(merged(known.checkpoint, known.input_wait, known.exposed_copy, known.gc), ts)
    waits = states["state"].isin(WAITING).to_numpy(bool)
    sleeps = (states["state"] == "sleep").to_numpy(bool) & ~inside(known.torch, ts)
    return int(here.sum()), int((here & waits & ~accounted & ~sleeps).sum())


def in_step(rows: pd.DataFrame) -> bool:
    """Are the steps of these ranks equally long, as of those that wait for each other in each?"""
    return bool(rows["step_ns"].min() >= IN_STEP * rows["step_ns"].max())


def _peer_shares(rows: pd.DataFrame) -> "np.typing.NDArray[np.float64]":
    share, count = rows["waiting_share"].to_numpy(np.float64), rows["samples"].to_numpy(np.float64)
    if not in_step(rows):
        return np.zeros(len(rows))
    variance = share * (1.0 - share) / count
    least = int(np.argmin(share))
    more = share - share[least]
    sure: np.typing.NDArray[np.float64] = np.where(
        more > SURE * np.sqrt(variance + variance[least]), more, 0.0
    )
    return sure
