"""Host and device time by module and by annotated range (record_function, NVTX)."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.call_tree import COLUMNS, by_name
from perfscope.analyzer.run.launch_origin import forward_ops, work_origin
from perfscope.analyzer.run.table_access import column, of_category, table
from perfscope.analyzer.run.units import rank_by_process
from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing
from perfscope.traces.trace import Trace

MODULE = "nn.Module: "
ANNOTATED = ("annotation", "nvtx", "step", "forward", "backward", "optimizer")


def range_table(trace: Trace) -> pd.DataFrame:
    """One row for each process, kind and name; of a rank modules first, then by device time.

    Columns: rank, process, kind (`module`, or the category of a range: annotation, nvtx, step ...),
    name (a module's without "nn.Module: "), parent (what of the same kind is around its longest
    call, "" for none), count, host_ns, host_self_ns (outside ranges of the kind inside it),
    device_ns (kernels and copies launched from its thread while it was open), device_self_ns (and
    no range of the kind inside it was), backward_device_ns (launched by the backward of operators
    that ran in it), kernels (kernels and copies launched), longest_ts (where its longest call
    starts).
    """
    ranges = table(trace, "ranges")
    if ranges is None or not len(ranges):
        return pd.DataFrame(columns=["rank", "kind", *COLUMNS])
    parts = [_of_kind(trace, "module", modules(ranges))]
    parts += [_of_kind(trace, kind, of_category(ranges, kind)) for kind in ANNOTATED]
    whole = pd.concat([part for part in parts if len(part)] or parts)
    ranks = rank_by_process(trace)
    whole.insert(0, "rank", [ranks.get(int(process), 0) for process in whole["process"]])
    whole = whole.assign(annotated=whole["kind"] != "module")
    order = ["rank", "annotated", "device_ns", "host_ns"]
    whole = whole.sort_values(order, ascending=[True, True, False, False], ignore_index=True)
    return whole.drop(columns="annotated")


def modules(ranges: pd.DataFrame) -> pd.DataFrame:
    """The ranges that are calls of modules, as the profiler's Python stacks name them; the name is
    the module's alone.
    """
    names = [name for name in ranges["name"].cat.categories if name.startswith(MODULE)]
    found = ranges[(ranges["category"] == "python") & ranges["name"].isin(names)]
    kept = found["name"].cat.remove_unused_categories()
    return found.assign(
        name=kept.cat.rename_categories(
            {name: name.removeprefix(MODULE) for name in kept.cat.categories}
        )
    )


def around(ranges: pd.DataFrame) -> Ints:
    """For each range the position of the innermost other one around it on its thread, -1 for
    none.
    """
    ts = column(ranges, "ts")
    return enclosing(_threads(ranges), ts, ts + column(ranges, "dur"))


def innermost(ranges: pd.DataFrame, calls: pd.DataFrame | None) -> Ints:
    """For each row of `calls` (launches, operators) the position of the innermost range that its
    thread had open, or -1.
    """
    if calls is None or not len(calls):
        return np.empty(0, np.int64)
    start = np.concatenate([column(ranges, "ts"), column(calls, "ts")])
    # A call is an instant here, so that one which ends a little late by the clock's grain still
    # lies inside.
    end = np.concatenate([column(ranges, "ts") + column(ranges, "dur"), column(calls, "ts")])
    return enclosing(_threads(ranges, calls), start, end)[len(ranges) :]


def _threads(*frames: pd.DataFrame) -> Ints:
    """A number for each row's thread, the same in all frames."""
    process = np.concatenate([column(frame, "process") for frame in frames])
    tid = np.concatenate([column(frame, "tid") for frame in frames])
    _, thread = np.unique(np.stack([process, tid]), axis=1, return_inverse=True)
    return np.asarray(thread, np.int64).ravel()


def _of_kind(trace: Trace, kind: str, ranges: pd.DataFrame | None) -> pd.DataFrame:
    if ranges is None or not len(ranges):
        return pd.DataFrame(columns=["kind", *COLUMNS])
    origin = trace.fact(work_origin)
    open_at_launch = innermost(ranges, table(trace, "launches"))
    at = np.full(len(origin.launch), -1, np.int64)
    known = origin.launch >= 0
    at[known] = open_at_launch[origin.launch[known]]
    found = by_name(ranges, around(ranges), at, _backward(trace, ranges), origin.dur)
    found.insert(1, "kind", kind)
    return found


def _backward(trace: Trace, ranges: pd.DataFrame) -> Ints:
    """For each piece of device work that a backward operator launched, the range in which its
    forward operator ran.
    """
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
