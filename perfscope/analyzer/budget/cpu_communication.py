"""Communication of ranks on CPUs: what a thread spends in collectives and in waiting for them.

The operators `c10d::...` only ask for a collective; threads of the library (gloo, MPI) run it, and
the thread that asked waits until it is done. Where a profiler sees all threads, those of the
library show when it runs. What the thread computes itself meanwhile (Python between asking and
waiting) looks like waiting here: samples tell them apart, in `time_budget`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.nested_rows import are_within
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import EMPTY, Ints, Spans, intersected, merged
from perfscope.traces.naming import COLLECTIVE_RUNS

COLLECTIVE = ("c10d::", "_c10d_functional::", "c10d_functional::")
"""Operators that ask for a collective, or wait for one (`wait_tensor`, of those that DTensor and
compiled code ask for).
"""
AUTOGRAD = "autograd::engine"
COPY_TO_GRADIENT = "torch.distributed.ddp.reducer::copy_bucket_to_grad"
"""What DDP does with each gradient once its bucket has been reduced, at the end of backward."""
VIEW = "aten::as_strided"


def communication_spans(ops: pd.DataFrame, runs: Spans = EMPTY) -> Spans:
    """Return where one thread's `ops` ask for a collective, and where the thread waits for it.

    `runs` are the begin and end of each collective, where these are known.
    """
    ops = ops.sort_values(["ts", "dur"], ascending=[True, False], kind="stable")
    asks = rows_named(ops, lambda name: name.startswith(COLLECTIVE))
    if not asks.any():
        return merged()
    if len(runs[0]):
        return waits_for_runs(ops, asks, runs)
    return waits_by_position(ops, asks)


def waits_for_runs(ops: pd.DataFrame, asks: NDArray[np.bool_], runs: Spans) -> Spans:
    """Return the calls that ask, and the waits, where it is known when collectives ran.

    A wait is a stretch without operators in which a collective ended: its part in which one ran, or
    all of it up to that end where the call had to wait (`asyncOp` False).
    """
    first, last = column(ops, "ts"), column(ops, "ts") + column(ops, "dur")
    idle_from = ends_so_far(first, last)
    done = np.sort(runs[1])
    ended_by = np.searchsorted(done, first, side="right")
    waits = (first > idle_from) & (ended_by > np.searchsorted(done, idle_from))
    after_blocking = np.append(False, (asks & blocking_calls(ops))[:-1]) & waits
    ran = intersected(merged((idle_from[waits], first[waits])), merged(runs))
    blocked = (idle_from[after_blocking], done[ended_by[after_blocking] - 1])
    return merged(ran, blocked, (first[asks], last[asks]))


def waits_by_position(ops: pd.DataFrame, asks: NDArray[np.bool_]) -> Spans:
    """Return the calls that ask, and the waits, where it is not known when collectives ran.

    Outside of backward the thread mostly waits at once: up to its next operator. In backward it
    waits before DDP copies reduced gradients out.
    """
    first, last = column(ops, "ts"), column(ops, "ts") + column(ops, "dur")
    next_first = np.append(first, last.max())[np.searchsorted(first, last[asks])]
    in_backward = called_by_autograd(ops, np.flatnonzero(asks))
    until = np.where(in_backward, last[asks], next_first)
    copies = gradient_copies(ops)
    idle_from = ends_so_far(first, last)
    return merged((idle_from[copies], first[copies]), (first[asks], until))


def ends_so_far(first: Ints, last: Ints) -> Ints:
    """Return, for each operator, the latest end of the ones before it."""
    return np.append(first[0], np.maximum.accumulate(last)[:-1])


def blocking_calls(ops: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which of `ops` block until the collective is done.

    `asyncOp` is the only truth value among the arguments of a collective.
    """
    arguments = ops["concrete"].tolist()
    return np.array([isinstance(text, str) and '"False"' in text for text in arguments], bool)


def collectives_run(ranges: pd.DataFrame | None) -> Spans:
    """Return begin and end of each collective among the `ranges` of one process.

    The threads of the library mark them.
    """
    if ranges is None or not len(ranges):
        return EMPTY
    runs = ranges[rows_named(ranges, lambda name: name.startswith(COLLECTIVE_RUNS))]
    return column(runs, "ts"), column(runs, "ts") + column(runs, "dur")


def gradient_copies(ops: pd.DataFrame) -> Ints:
    """Return the positions where the thread continues with reduced gradients.

    It lays views over their bucket, then copies them out.
    """
    outermost = np.flatnonzero(column(ops, "parent") < 0)
    copies = rows_named(ops, lambda name: name == COPY_TO_GRADIENT)[outermost]
    views = rows_named(ops, lambda name: name == VIEW)[outermost]
    last_other = np.maximum.accumulate(np.where(views, -1, np.arange(len(views))))
    begins = np.append(-1, last_other[:-1])[copies] + 1
    found: Ints = outermost[np.unique(begins)]
    return found


def rows_named(rows: pd.DataFrame, fits: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Return which of `rows` have a name that fits.

    Only their own names are tried: a trace of many processes has all names in the categories of
    each.
    """
    names = rows["name"].cat
    codes, place = np.unique(names.codes.to_numpy(), return_inverse=True)
    used = names.categories[codes[codes >= 0]]
    missing = [False] * int((codes < 0).sum())  # sorted first
    known = np.array([*missing, *(fits(str(name)) for name in used)], bool)
    found: NDArray[np.bool_] = known[place]
    return found


def called_by_autograd(ops: pd.DataFrame, rows: Ints) -> NDArray[np.bool_]:
    """Return whether autograd's engine called these rows (positions), directly or not."""
    caller = ops.index.get_indexer(pd.Index(column(ops, "parent"))).astype(np.int64)
    return are_within(rows_named(ops, lambda name: name.startswith(AUTOGRAD)), caller)[rows]
