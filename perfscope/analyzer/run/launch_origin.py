"""Which operator launched each kernel and copy, and which forward operator a backward one belongs
to.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Origin:
    """For each row of `kernels` and of `copies` (in that order) its time, launch and operator; -1
    where it is not known.
    """

    process: Ints
    device: Ints
    dur: Ints
    launch: Ints  # row of `launches`
    op: Ints  # row of `ops`: the innermost operator around the launch
    kernels: int  # how many of the rows are kernels; the rest are copies


def work_origin(trace: Trace) -> Origin:
    """What every piece of device work came from."""
    frames = [table(trace, "kernels"), table(trace, "copies")]
    launch = np.concatenate([column(frame, "launch") for frame in frames])
    op = np.full(len(launch), -1, np.int64)
    calls = column(table(trace, "launches"), "op")
    known = launch >= 0
    op[known] = calls[launch[known]]
    return Origin(
        process=np.concatenate([column(frame, "process") for frame in frames]),
        device=np.concatenate([column(frame, "device") for frame in frames]),
        dur=np.concatenate([column(frame, "dur") for frame in frames]),
        launch=launch,
        op=op,
        kernels=len(column(frames[0], "ts")),
    )


def forward_ops(trace: Trace) -> Ints:
    """For each row of `ops` the row of the forward operator it is the backward of, -1 for none.

    Autograd gives a forward operator and the backward of it one number, counted for each forward
    thread. Several nested operators of the forward carry the number; the one that started last made
    the node. Operators inside a backward one belong where it does.
    """
    ops = table(trace, "ops")
    if ops is None or not len(ops):
        return np.empty(0, np.int64)
    sequence, backward = column(ops, "sequence"), column(ops, "forward_tid") > 0
    found = np.full(len(ops), -1, np.int64)
    ahead = np.flatnonzero((sequence >= 0) & ~backward)
    behind = np.flatnonzero((sequence >= 0) & backward)
    if not len(ahead) or not len(behind):
        return found
    thread = _forward_threads(trace, ahead, behind)
    process, tid, ts = column(ops, "process"), column(ops, "tid"), column(ops, "ts")
    ahead = ahead[np.argsort(ts[ahead], kind="stable")]
    last = dict(zip(_keys(process[ahead], tid[ahead], sequence[ahead]), ahead, strict=True))
    keys = _keys(process[behind], thread, sequence[behind])
    found[behind] = [last.get(key, -1) for key in keys]
    return _inherited(found, column(ops, "parent"))


def _keys(*columns: Ints) -> list[tuple[int, ...]]:
    return list(zip(*(one.tolist() for one in columns), strict=True))


def _forward_threads(trace: Trace, ahead: Ints, behind: Ints) -> Ints:
    """The tid of each backward operator's forward thread: torch numbers threads its own way, so the
    one whose numbers fit.
    """
    ops = table(trace, "ops")
    process, tid, sequence = column(ops, "process"), column(ops, "tid"), column(ops, "sequence")
    number = column(ops, "forward_tid")
    threads = {}
    for key in set(_keys(process[ahead], tid[ahead])):
        own = ahead[(process[ahead] == key[0]) & (tid[ahead] == key[1])]
        threads[key] = np.unique(sequence[own])
    chosen = np.full(len(behind), -1, np.int64)
    for key in set(_keys(process[behind], number[behind])):
        mine = (process[behind] == key[0]) & (number[behind] == key[1])
        wanted = np.unique(sequence[behind[mine]])
        fits = {
            t: int(np.isin(wanted, have).sum()) for (p, t), have in threads.items() if p == key[0]
        }
        if fits:
            chosen[mine] = max(fits, key=lambda t: fits[t])
    return chosen


def _inherited(own: Ints, parent: Ints) -> Ints:
    """What an operator has, else what the nearest operator around it has."""
    found, at = own.copy(), parent.copy()
    while True:
        open_rows = np.flatnonzero((found < 0) & (at >= 0))
        if not len(open_rows):
            return found
        found[open_rows] = own[at[open_rows]]
        at[open_rows] = parent[at[open_rows]]
