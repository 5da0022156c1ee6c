"""Where ranks on CPUs talk to each other: what a thread spends in collectives and in waiting for
them.

The operators `c10d::...` only ask for a collective; threads of the library (gloo, MPI) do it, and
the thread that asked does nothing until it is done. Where a profiler sees all threads those of the
library say what they do. What the thread computes itself meanwhile (Python between asking and
waiting) cannot be told from waiting here: samples do, in `time_budget`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import EMPTY, Ints, Spans, intersected, merged
from perfscope.traces.naming import COLLECTIVE_RUNS

COLLECTIVE, AUTOGRAD = ("c10d::", "_c10d_functional::", "c10d_functional::"), "autograd::engine"
"""Operators that ask for a collective, or wait for one (`wait_tensor`, of those that DTensor and
compiled code ask for).
"""
TAKEN_OUT = "torch.distributed.ddp.reducer::copy_bucket_to_grad"
"""What DDP does with each gradient once a bucket of them has been reduced, at the end of backward.
"""
VIEW = "aten::as_strided"


def communication(ops: pd.DataFrame, runs: Spans = EMPTY) -> Spans:
    """The stretches of one thread's `ops`: operators that ask for a collective, and waits for them.

    Where it is known when collectives ran (`runs`, each one's begin and end): a wait is a stretch
    without operators in which one ended, as far as one ran; all of it up to that end where who
    asked had to wait (`asyncOp` False).

    Elsewhere: what lies between an operator that asks and that autograd did not call, and the
    thread's next operator (outside of backward who asks mostly waits there and then); and what lies
    before DDP takes reduced gradients out.
    """
    ops = ops.sort_values(["ts", "dur"], ascending=[True, False], kind="stable")
    first, last = column(ops, "ts"), column(ops, "ts") + column(ops, "dur")
    asks = said(ops, lambda name: name.startswith(COLLECTIVE))
    if not asks.any():
        return merged()
    ended = np.append(first[0], np.maximum.accumulate(last)[:-1])
    if len(runs[0]):
        done = np.sort(runs[1])
        over = np.searchsorted(done, first, side="right")
        waits = (first > ended) & (over > np.searchsorted(done, ended))
        waited = np.append(False, (asks & in_lockstep(ops))[:-1]) & waits
        ran = intersected(merged((ended[waits], first[waits])), merged(runs))
        return merged(ran, (ended[waited], done[over[waited] - 1]), (first[asks], last[asks]))
    following = np.append(first, last.max())[np.searchsorted(first, last[asks])]
    until = np.where(by_autograd(ops, np.flatnonzero(asks)), last[asks], following)
    takes = arrivals(ops)
    return merged((ended[takes], first[takes]), (first[asks], until))


def in_lockstep(ops: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of `ops` say that they are waited for (`asyncOp` is the only truth value among what a
    collective is asked with).
    """
    return np.array(
        [isinstance(one, str) and '"False"' in one for one in ops["concrete"].tolist()], bool
    )


def collectives_run(ranges: pd.DataFrame | None) -> Spans:
    """Begin and end of each collective that the library's threads say is under way, among the
    `ranges` of one process.
    """
    if ranges is None or not len(ranges):
        return EMPTY
    runs = ranges[said(ranges, lambda name: name.startswith(COLLECTIVE_RUNS))]
    return column(runs, "ts"), column(runs, "ts") + column(runs, "dur")


def arrivals(ops: pd.DataFrame) -> Ints:
    """Where (positions) the thread goes on with reduced gradients: it lays views over their bucket,
    then takes them out.
    """
    takes, views = said(ops, lambda name: name == TAKEN_OUT), said(ops, lambda name: name == VIEW)
    outermost = np.flatnonzero(column(ops, "parent") < 0)
    takes, views = takes[outermost], views[outermost]
    # the last outermost operator before each that is no view
    other = np.maximum.accumulate(np.where(views, -1, np.arange(len(views))))
    begins = np.append(-1, other[:-1])[takes] + 1
    found: Ints = outermost[np.unique(begins)]
    return found


def said(rows: pd.DataFrame, fits: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Which of `rows` have a name that fits."""
    names = rows["name"].cat
    known = np.array([fits(str(one)) for one in names.categories] + [False], bool)
    found: NDArray[np.bool_] = known[names.codes.to_numpy()]
    return found


def by_autograd(ops: pd.DataFrame, rows: Ints) -> NDArray[np.bool_]:
    """Were these rows (positions) called, directly or not, by the engine of autograd?"""
    place = {row: at for at, row in enumerate(ops.index.tolist())}
    parent, engine = column(ops, "parent"), said(ops, lambda name: name.startswith(AUTOGRAD))
    found = np.zeros(len(rows), bool)
    for number, at in enumerate(rows.tolist()):
        while at is not None and not engine[at]:
            at = place.get(int(parent[at]))
        found[number] = at is not None
    return found
