"""The roofline of kernels: each has its part of the cost of the operator that launched it."""

import numpy as np
import pandas as pd

from perfscope.analyzer.compute.call_costs import communicates, device_work, over_a_link
from perfscope.analyzer.compute.roofline import roof_marks, roofed_calls, with_rates
from perfscope.analyzer.compute.short_kernel_names import short_kernel_names
from perfscope.analyzer.compute.work_units import rank_of_work
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

COLUMNS = (
    "rank",
    "process",
    "device",
    "name",
    "short_name",
    "operator",
    "count",
    "work_ns",
    "flops",
    "bytes",
    "attainable_ns",
    "alone",
    "intensity",
    "flops_per_s",
    "bytes_per_s",
    "roof_share",
    "side",
    "mark",
    "longest_ts",
    "longest_ns",
)


def kernel_roofline(trace: Trace) -> pd.DataFrame:
    """Return one row per kernel and operator on each device; within a rank the longest first.

    An operator's FLOPs and bytes are shared among its kernels by their time, so all of them show
    the rate of the operator; `alone` is the share of a kernel's time in which it was the operator's
    only one, so that its figures are exact. Further columns are those of `roofline_table`.
    """
    work, calls, kernels, ops = (
        trace.fact(device_work),
        trace.fact(roofed_calls),
        table(trace, "kernels"),
        table(trace, "ops"),
    )
    keep = work.costed & (work.kernel >= 0) & ~over_a_link(trace, work) & ~communicates(trace, work)
    if kernels is None or ops is None or not len(calls) or not keep.any():
        return pd.DataFrame(columns=list(COLUMNS))
    keys = ["process", "device", "op"]
    pieces = pd.DataFrame(
        {
            "process": work.process,
            "device": work.device,
            "op": work.op,
            "ts": work.ts,
            "dur": work.dur,
        }
    )
    pieces = pieces.assign(kernel=work.kernel)[keep]
    costs = calls[[*keys, "work_ns", "kernels", "flops", "bytes", "attainable_ns", "side"]]
    pieces = pieces.merge(costs, on=keys, how="inner")
    part = pieces["dur"] / pieces["work_ns"].clip(lower=1)
    pieces = pieces.assign(
        name=kernels["name"].to_numpy(object)[pieces["kernel"]],
        operator=ops["name"].to_numpy(object)[pieces["op"]],
        **{name: pieces[name] * part for name in ("flops", "bytes", "attainable_ns")},
        alone_ns=np.where(pieces["kernels"] == 1, pieces["dur"], 0),
    )
    groups = pieces.groupby(["process", "device", "name", "operator"], sort=False)
    sums = groups.agg(
        count=("dur", "size"),
        work=("dur", "sum"),
        alone_ns=("alone_ns", "sum"),
        bytes=("bytes", "sum"),
        side=("side", "first"),
        flops=("flops", lambda of: of.sum(skipna=False)),
        attainable_ns=("attainable_ns", lambda of: of.sum(skipna=False)),
    )
    longest = pieces.loc[groups["dur"].idxmax()]
    found = with_rates(sums.rename(columns={"work": "work_ns"}).reset_index())
    found = found.assign(
        alone=found["alone_ns"] / found["work_ns"].clip(lower=1), mark=roof_marks(found)
    )
    found = found.assign(longest_ts=longest["ts"].to_numpy(), longest_ns=longest["dur"].to_numpy())
    names = found["name"].astype(str).drop_duplicates()
    short = dict(zip(names, short_kernel_names(names), strict=True))
    found = found.assign(short_name=found["name"].map(short))
    ranks = rank_of_work(trace)
    found.insert(0, "rank", [ranks.get(int(process), 0) for process in found["process"]])
    return found.sort_values(["rank", "work_ns"], ascending=[True, False], ignore_index=True)[
        list(COLUMNS)
    ]
