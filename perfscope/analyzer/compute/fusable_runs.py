"""Consecutive operators that each read and write the same large tensors: one fused kernel could
replace a run of them.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.compute.call_costs import device_work
from perfscope.analyzer.compute.roofline import MEMORY, roofed_calls
from perfscope.analyzer.compute.work_limits import limited_by
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

FUSABLE = ("elementwise", "normalization", "reductions", "losses", "movement")
LISTS = "aten::_foreach_"
# Tensors of a run differ by less than this factor: another size is another tensor.
SAME_SIZE = 2.1
# A call that moves less handles a single number, and does not interrupt a run.
NUMBER_BYTES = 64


def fusable_runs(trace: Trace) -> pd.DataFrame:
    """Return one row for each run of two or more calls.

    Columns process, device, ts, dur (to the end of its last), calls, work_ns, spare_ns (all but the
    longest: what fusing them saves), names (the operators in order).

    Only calls that memory limits; any other work between, or another size, ends a run. Operators on
    lists of parameters are left out: their neighbors are other parameters.
    """
    empty = pd.DataFrame(
        columns=["process", "device", "ts", "dur", "calls", "work_ns", "spare_ns", "names"]
    )
    calls, work, ops = trace.fact(roofed_calls), trace.fact(device_work), table(trace, "ops")
    calls = calls[~(calls["bytes"] < NUMBER_BYTES)]
    if not len(calls) or ops is None:
        return empty
    names = np.append(ops["name"].to_numpy(object), "")
    listed = np.array(
        [str(name).startswith(LISTS) for name in names[column(ops, "parent")[calls["op"]]]], bool
    )
    fits = calls["family"].isin(FUSABLE).to_numpy() & (limited_by(calls) == MEMORY) & ~listed
    rows = calls.assign(fits=fits).sort_values(["process", "device", "ts"], ignore_index=True)
    size = rows["bytes"].to_numpy(np.float64)
    ratio = np.append(0.0, size[1:] / np.maximum(size[:-1], 1.0))
    same = (ratio < SAME_SIZE) & (ratio > 1 / SAME_SIZE)
    ok = rows["fits"].to_numpy(bool)
    where = rows[["process", "device"]].to_numpy(np.int64)
    together = np.append(False, ok[1:] & ok[:-1] & (where[1:] == where[:-1]).all(axis=1)) & same
    together &= ~_other_work_before(rows, work.ts[~work.costed])
    rows = rows.assign(run=np.cumsum(~together), end=rows["ts"] + rows["span_ns"])[ok]
    groups = rows.groupby("run", sort=True)
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
    return runs.assign(dur=runs["end"] - runs["ts"], spare_ns=runs["work_ns"] - runs["longest"])[
        list(empty.columns)
    ]


def _other_work_before(
    rows: pd.DataFrame, other: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> "pd.Series[bool]":
    """Return whether work without a cost began between the call before and each call."""
    ts, others = rows["ts"].to_numpy(np.int64), np.sort(other)
    count = np.searchsorted(others, ts)
    found: pd.Series[bool] = pd.Series(np.append(False, count[1:] != count[:-1]))
    return found
