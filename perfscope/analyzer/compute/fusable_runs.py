"""Consecutive operators that each read and write the same large tensors: one fused kernel could
replace a run of them.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.call_costs import device_work
from perfscope.analyzer.compute.costs import (
    elementwise,
    family_name,
    losses,
    movement,
    normalization,
    reductions,
)
from perfscope.analyzer.compute.roofline import MEMORY, roofed_calls
from perfscope.analyzer.compute.work_limits import limited_by
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

FUSABLE = tuple(map(family_name, (elementwise, normalization, reductions, losses, movement)))
LISTS = "aten::_foreach_"
SAME_SIZE = 2.1
"""The tensors of a run differ by less than this factor: another size is another tensor."""
NUMBER_BYTES = 64
"""A call that moves less handles a single number, and does not end a run."""
RUN_COLUMNS = ["process", "device", "ts", "dur", "calls", "work_ns", "spare_ns", "names"]


def fusable_runs(trace: Trace) -> pd.DataFrame:
    """Return one row for each run of two or more calls.

    Columns process, device, ts, dur (to the end of its last), calls, work_ns, spare_ns (all but the
    longest: what fusing them saves), names (the operators in order).

    A run consists of calls that memory limits. It ends where other work runs or where the size
    changes. Operators on lists of parameters are left out: consecutive calls of them work on
    different parameters.
    """
    calls, work = trace.fact(roofed_calls), trace.fact(device_work)
    calls = calls[~(calls["bytes"] < NUMBER_BYTES)]
    if not len(calls) or table(trace, "ops") is None:
        return pd.DataFrame(columns=RUN_COLUMNS)
    is_fusable = calls["family"].isin(FUSABLE).to_numpy() & ~is_on_lists(trace, calls)
    is_fusable &= limited_by(calls) == MEMORY
    rows = calls.assign(fusable=is_fusable)
    rows = rows.sort_values(["process", "device", "ts"], ignore_index=True)
    continues = continues_run(rows) & ~other_work_before(rows, work.ts[~work.costed])
    rows = rows.assign(run=np.cumsum(~continues), end=rows["ts"] + rows["span_ns"])
    groups = rows[rows["fusable"]].groupby("run", sort=True)
    runs = groups.agg(
        process=("process", "first"),
        device=("device", "first"),
        ts=("ts", "min"),
        end=("end", "max"),
        calls=("op", "size"),
        work_ns=("work_ns", "sum"),
        longest=("work_ns", "max"),
        names=("name", tuple),
    )
    runs = runs[runs["calls"] > 1]
    runs = runs.assign(dur=runs["end"] - runs["ts"], spare_ns=runs["work_ns"] - runs["longest"])
    return runs[RUN_COLUMNS]


def is_on_lists(trace: Trace, calls: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which calls were made by an operator on lists of tensors."""
    ops = table(trace, "ops")
    names = np.append([] if ops is None else ops["name"].to_numpy(object), "")
    callers = names[column(ops, "parent")[calls["op"]]]
    return np.array([str(name).startswith(LISTS) for name in callers], bool)


def continues_run(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which calls are fusable with the call before, on the same device and of its size."""
    size = rows["bytes"].to_numpy(np.float64)
    ratio = size[1:] / np.maximum(size[:-1], 1.0)
    same_size = (ratio < SAME_SIZE) & (ratio > 1 / SAME_SIZE)
    fusable = rows["fusable"].to_numpy(bool)
    device = rows[["process", "device"]].to_numpy(np.int64)
    same_device = (device[1:] == device[:-1]).all(axis=1)
    return np.append(False, fusable[1:] & fusable[:-1] & same_device & same_size)


def other_work_before(rows: pd.DataFrame, other_ts: Ints) -> NDArray[np.bool_]:
    """Return which calls follow work without a cost that began after the previous call."""
    ts = rows["ts"].to_numpy(np.int64)
    count = np.searchsorted(np.sort(other_ts), ts)
    return np.append(False, count[1:] != count[:-1])
