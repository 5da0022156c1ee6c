"""Where ranks on CPUs talk to each other: what a thread spends in collectives and in waiting for them.

The operators `c10d::...` only ask for a collective; threads of the library (gloo, MPI) do it, which no profiler shows. What is
seen is that the thread that asked does nothing until it is done.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.facts.rows import column
from perfscope.traces.intervals import Ints, Spans, merged

COLLECTIVE, AUTOGRAD = "c10d::", "autograd::engine"
TAKEN_OUT = "torch.distributed.ddp.reducer::copy_bucket_to_grad"
"""What DDP does with each gradient once a bucket of them has been reduced, at the end of backward."""
VIEW = "aten::as_strided"


def communication(ops: pd.DataFrame) -> Spans:
    """The stretches of one thread's `ops`: operators that ask for a collective, with what lies between one that autograd did not
    call and the thread's next operator (outside of backward who asks mostly waits there and then); and those before DDP takes
    reduced gradients out.
    """
    ops = ops.sort_values(["ts", "dur"], ascending=[True, False], kind="stable")
    first, last = column(ops, "ts"), column(ops, "ts") + column(ops, "dur")
    asks = said(ops, lambda name: name.startswith(COLLECTIVE))
    if not asks.any():
        return merged()
    ended = np.append(first[0], np.maximum.accumulate(last)[:-1])
    following = np.append(first, last.max())[np.searchsorted(first, last[asks])]
    until = np.where(by_autograd(ops, np.flatnonzero(asks)), last[asks], following)
    takes = arrivals(ops)
    return merged((ended[takes], first[takes]), (first[asks], until))


def arrivals(ops: pd.DataFrame) -> Ints:
    """Where (positions) the thread goes on with reduced gradients: it lays views over their bucket, then takes them out."""
    takes, views = said(ops, lambda name: name == TAKEN_OUT), said(ops, lambda name: name == VIEW)
    outermost = np.flatnonzero(column(ops, "parent") < 0)
    takes, views = takes[outermost], views[outermost]
    # the last outermost operator before each that is no view
    other = np.maximum.accumulate(np.where(views, -1, np.arange(len(views))))
    begins = np.append(-1, other[:-1])[takes] + 1
    found: Ints = outermost[np.unique(begins)]
    return found


def said(ops: pd.DataFrame, fits: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Which of `ops` have a name that fits."""
    names = ops["name"].cat
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
