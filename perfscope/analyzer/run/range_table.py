"""Host and device time by module and by annotated range (record_function, NVTX)."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.launch_origin import forward_ops, work_origin
from perfscope.analyzer.run.budget_units import rank_by_process
from perfscope.analyzer.run.call_tree import COLUMNS, sums_by_name
from perfscope.analyzer.run.table_access import column, rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing
from perfscope.traces.trace import Trace

MODULE = "nn.Module: "
ANNOTATED = ("annotation", "nvtx", "step", "forward", "backward", "optimizer")


def range_table(trace: Trace) -> pd.DataFrame:
    """Return one row for each process, kind and name; of a rank modules first, then by device time.

    Columns: rank, process, kind (`module`, or the category of a range: annotation, nvtx, step ...),
    name (a module's without "nn.Module: "), parent (the range of the kind around its longest
    call, "" for none), count, host_ns, host_self_ns (outside ranges of the kind inside it),
    device_ns (kernels and copies launched from its thread while it was open), device_self_ns (and
    no range of the kind inside it was), backward_device_ns (launched by the backward of operators
    that ran in it), kernels (kernels and copies launched), longest_ts (where its longest call
    starts).
    """
    ranges = table(trace, "ranges")
    if ranges is None or not len(ranges):
        return pd.DataFrame(columns=["rank", "kind", *COLUMNS])
    parts = [rows_of_kind(trace, "module", modules(ranges))]
    parts += [rows_of_kind(trace, kind, rows_of_category(ranges, kind)) for kind in ANNOTATED]
    rows = pd.concat([part for part in parts if len(part)] or parts)
    ranks = rank_by_process(trace)
    rows.insert(0, "rank", [ranks.get(int(process), 0) for process in rows["process"]])
    rows = rows.assign(annotated=rows["kind"] != "module")
    order = ["rank", "annotated", "device_ns", "host_ns"]
    rows = rows.sort_values(order, ascending=[True, True, False, False], ignore_index=True)
    return rows.drop(columns="annotated")


def modules(ranges: pd.DataFrame) -> pd.DataFrame:
    """Return the ranges that are calls of modules, with the module's name.

    The profiler's Python stacks name them with a prefix.
    """
    names = [name for name in ranges["name"].cat.categories if name.startswith(MODULE)]
    calls = ranges[(ranges["category"] == "python") & ranges["name"].isin(names)]
    used = calls["name"].cat.remove_unused_categories()
    renamed = {name: name.removeprefix(MODULE) for name in used.cat.categories}
    return calls.assign(name=used.cat.rename_categories(renamed))


def enclosing_ranges(ranges: pd.DataFrame) -> Ints:
    """Return, for each range, the position of the innermost other one around it on its thread.

    -1 for none.
    """
    ts = column(ranges, "ts")
    return enclosing(thread_numbers(ranges), ts, ts + column(ranges, "dur"))


def innermost(ranges: pd.DataFrame, calls: pd.DataFrame | None) -> Ints:
    """Return, for each row of `calls`, the position of the innermost open range of its thread.

    `calls` are launches or operators; -1 for none. A call is an instant here, so that one that ends
    a little late by the clock's resolution is still inside.
    """
    if calls is None or not len(calls):
        return np.empty(0, np.int64)
    start = np.concatenate([column(ranges, "ts"), column(calls, "ts")])
    end = np.concatenate([column(ranges, "ts") + column(ranges, "dur"), column(calls, "ts")])
    return enclosing(thread_numbers(ranges, calls), start, end)[len(ranges) :]


def thread_numbers(*frames: pd.DataFrame) -> Ints:
    """Return a number for each row's thread, the same in all frames."""
    process = np.concatenate([column(frame, "process") for frame in frames])
    tid = np.concatenate([column(frame, "tid") for frame in frames])
    _, thread = np.unique(np.stack([process, tid]), axis=1, return_inverse=True)
    return np.asarray(thread, np.int64).ravel()


def rows_of_kind(trace: Trace, kind: str, ranges: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of ranges of one kind."""
    if ranges is None or not len(ranges):
        return pd.DataFrame(columns=["kind", *COLUMNS])
    origin = trace.fact(work_origin)
    open_at_launch = innermost(ranges, table(trace, "launches"))
    launched_in = np.full(len(origin.launch), -1, np.int64)
    known = origin.launch >= 0
    launched_in[known] = open_at_launch[origin.launch[known]]
    backward_of = forward_ranges(trace, ranges)
    rows = sums_by_name(ranges, enclosing_ranges(ranges), launched_in, backward_of, origin.dur)
    rows.insert(1, "kind", kind)
    return rows


def forward_ranges(trace: Trace, ranges: pd.DataFrame) -> Ints:
    """Return, for each piece of device work, the range of its forward operator, -1 for none."""
    origin, ops = trace.fact(work_origin), table(trace, "ops")
    found = np.full(len(origin.op), -1, np.int64)
    if ops is None or not len(ops):
        return found
    forward = trace.fact(forward_ops)
    known = np.flatnonzero(origin.op >= 0)
    known = known[forward[origin.op[known]] >= 0]
    rows, where = np.unique(forward[origin.op[known]], return_inverse=True)
    found[known] = innermost(ranges, ops.iloc[rows])[where]
    return found
