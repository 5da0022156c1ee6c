"""FLOPs, bytes and roofline by module and annotated range (record_function, NVTX), including their
backward.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.roofline import roofed_calls, with_rates
from perfscope.analyzer.compute.work_units import rank_of_work
from perfscope.analyzer.run.accelerators.launch_origin import forward_ops
from perfscope.analyzer.run.call_tree import inside_same_name
from perfscope.analyzer.run.nested_rows import sums_within
from perfscope.analyzer.run.range_table import ANNOTATED, enclosing_ranges, innermost, modules
from perfscope.analyzer.run.table_access import rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

SUMS = ("work_ns", "flops", "bytes", "attainable_ns")
RATES = ("intensity", "flops_per_s", "bytes_per_s", "roof_share")
COLUMNS = ("rank", "process", "kind", "name", "count", *SUMS, *RATES, "longest_ts", "longest_ns")


def range_roofline(trace: Trace) -> pd.DataFrame:
    """Return one row per process, kind (`module`, or the category of a range) and name.

    Of a rank modules come first, then most work.

    Columns: rank, process, kind, name, count (its calls), work_ns (device work, of calls with a
    cost, launched while it was open, and by the backward of operators that ran in it), flops, bytes
    and attainable_ns (sums of those; NaN where one is unknown), intensity, flops_per_s,
    bytes_per_s and roof_share of the sums, longest_ts and longest_ns (its longest call).
    """
    ranges, calls, ops = table(trace, "ranges"), trace.fact(roofed_calls), table(trace, "ops")
    if ranges is None or ops is None or not len(calls):
        return pd.DataFrame(columns=list(COLUMNS))
    forward = trace.fact(forward_ops)[calls["op"].to_numpy(np.int64)]
    at = np.where(forward >= 0, forward, calls["op"].to_numpy(np.int64))
    kinds = [
        ("module", modules(ranges)),
        *((kind, rows_of_category(ranges, kind)) for kind in ANNOTATED),
    ]
    parts = [
        range_rows_of_kind(kind, rows, calls, ops, at)
        for kind, rows in kinds
        if rows is not None and len(rows)
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    found = with_rates(pd.concat(parts, ignore_index=True))
    ranks = rank_of_work(trace)
    found.insert(0, "rank", [ranks.get(int(process), 0) for process in found["process"]])
    found = found.assign(annotated=found["kind"] != "module")
    order = ["rank", "annotated", "work_ns"]
    found = found.sort_values(order, ascending=[True, True, False], ignore_index=True)
    return found[list(COLUMNS)]


def range_rows_of_kind(
    kind: str, ranges: pd.DataFrame, calls: pd.DataFrame, ops: pd.DataFrame, at: Ints
) -> pd.DataFrame:
    """Return the rows of one kind; `at` is the row of `ops` that each call belongs to."""
    rows, where = np.unique(at, return_inverse=True)
    inside = innermost(ranges, ops.iloc[rows])[where.ravel()]
    parent = enclosing_ranges(ranges)
    code = np.asarray(ranges["name"].cat.codes, np.int64)
    outer = ~inside_same_name(code, parent)
    sums = {name: sum_by_range(inside, parent, calls[name].to_numpy(np.float64)) for name in SUMS}
    seen = sum_by_range(inside, parent, np.ones(len(inside))) > 0
    frame = pd.DataFrame({"process": ranges["process"].to_numpy(np.int64), "code": code, **sums})
    frame = frame.assign(ts=ranges["ts"].to_numpy(np.int64), dur=ranges["dur"].to_numpy(np.int64))[
        outer & seen
    ]
    groups = frame.groupby(["process", "code"], sort=True)
    found = groups[list(SUMS)].agg("sum", skipna=False).reset_index()
    longest = frame.loc[groups["dur"].idxmax()]
    names = ranges["name"].cat.categories.to_numpy(object)
    columns = {
        "name": names[found["code"]],
        "count": groups.size().to_numpy(),
        "longest_ts": longest["ts"].to_numpy(),
    }
    return found.assign(kind=kind, **columns, longest_ns=longest["dur"].to_numpy())


def sum_by_range(at: Ints, parent: Ints, amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each range, the amounts in it and in those inside it; `at` is -1 for none."""
    in_self = np.bincount(at[at >= 0], weights=amount[at >= 0], minlength=len(parent))
    return sums_within(parent, in_self)
