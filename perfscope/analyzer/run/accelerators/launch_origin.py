"""The operator that launched each kernel and copy, and the forward operator of a backward one."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.nested_rows import nearest_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Origin:
    """Time, launch and operator of each row of `kernels`, then of `copies`; -1 where unknown."""

    process: Ints
    device: Ints
    dur: Ints
    launch: Ints
    """Row of `launches`."""
    op: Ints
    """Row of `ops`: the innermost operator around the launch."""
    kernels: int
    """How many of the rows are kernels; the rest are copies."""


def work_origin(trace: Trace) -> Origin:
    """Return the origin of every piece of device work."""
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
    """Return, for each row of `ops`, the row of the forward operator that it is the backward of.

    -1 for none. Autograd gives a forward operator and its backward one number, counted for each
    forward thread. Several nested operators of the forward have the number; the one that started
    last made the node. Operators inside a backward one have the same forward operator.
    """
    ops = table(trace, "ops")
    if ops is None or not len(ops):
        return np.empty(0, np.int64)
    sequence, backward = column(ops, "sequence"), column(ops, "forward_tid") > 0
    found = np.full(len(ops), -1, np.int64)
    forward_rows = np.flatnonzero((sequence >= 0) & ~backward)
    backward_rows = np.flatnonzero((sequence >= 0) & backward)
    if not len(forward_rows) or not len(backward_rows):
        return found
    thread = forward_threads(trace, forward_rows, backward_rows)
    process, tid, ts = column(ops, "process"), column(ops, "tid"), column(ops, "ts")
    rows = forward_rows[np.argsort(ts[forward_rows], kind="stable")]
    last = dict(zip(row_keys(process[rows], tid[rows], sequence[rows]), rows, strict=True))
    keys = row_keys(process[backward_rows], thread, sequence[backward_rows])
    found[backward_rows] = [last.get(key, -1) for key in keys]
    return inherit_from_callers(found, column(ops, "parent"))


def row_keys(*columns: Ints) -> list[tuple[int, ...]]:
    """Return the values of these columns as one tuple per row."""
    return list(zip(*(values.tolist() for values in columns), strict=True))


def forward_threads(trace: Trace, forward_rows: Ints, backward_rows: Ints) -> Ints:
    """Return the tid of each backward operator's forward thread, -1 where unknown.

    Torch has its own numbers for threads: it is the thread whose sequence numbers fit best.
    """
    ops = table(trace, "ops")
    process, tid, sequence = column(ops, "process"), column(ops, "tid"), column(ops, "sequence")
    number = column(ops, "forward_tid")
    threads = {}
    for code, thread in set(row_keys(process[forward_rows], tid[forward_rows])):
        of_thread = (process[forward_rows] == code) & (tid[forward_rows] == thread)
        threads[code, thread] = np.unique(sequence[forward_rows[of_thread]])
    chosen = np.full(len(backward_rows), -1, np.int64)
    for code, thread_number in set(row_keys(process[backward_rows], number[backward_rows])):
        selected = (process[backward_rows] == code) & (number[backward_rows] == thread_number)
        wanted = np.unique(sequence[backward_rows[selected]])
        fits = {
            thread: int(np.isin(wanted, known).sum())
            for (of_process, thread), known in threads.items()
            if of_process == code
        }
        if fits:
            chosen[selected] = max(fits, key=lambda thread: fits[thread])
    return chosen


def inherit_from_callers(values: Ints, parent: Ints) -> Ints:
    """Return the value of each operator, else of the nearest operator around it that has one."""
    return np.append(values, -1)[nearest_rows(values >= 0, parent)]
