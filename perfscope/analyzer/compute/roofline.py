"""The roofline: the speed of operators against what memory and arithmetic of their device allow.

A call's attainable time is the longer of bytes / memory rate and FLOPs / arithmetic rate (Williams,
Waterman, Patterson 2009); the side that is longer bounds it. Bytes are the least that must move, so
a call whose data were in a cache may run above the roof of memory: it is marked as such.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.call_costs import call_costs
from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.work_units import rank_of_work
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.budget_units import NO_DEVICE
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
COMPUTE, MEMORY = "compute", "memory-bandwidth"
CACHED = "above the roof of memory: its data came from a cache"
FASTER = (
    "above the roof of arithmetic: less was computed, or in a smaller type, than its shapes and"
    " types say"
)
SHORT = "above its roof: too short for the clock"
# Times are in microseconds, and on a CPU without the cost of the call: shorter ones are too
# inexact to divide by.
SHORTEST_NS = 2_000
GROUP = ["process", "device", "name", "shapes", "dtype", "matrix"]


def roofed_calls(trace: Trace) -> pd.DataFrame:
    """Return `call_costs` with four more columns.

    side (compute or memory-bandwidth; "" unknown), attainable_ns (NaN without peaks), roof_share
    (attainable over measured time, NaN without peaks), reached (the share of its roof that good
    code reaches, NaN without peaks).
    """
    calls = trace.fact(call_costs)
    flops, moved = calls["flops"].to_numpy(np.float64), calls["bytes"].to_numpy(np.float64)
    rate, bandwidth, reached = rates_of_calls(trace, calls)
    computing = np.where(np.isnan(flops), np.nan, flops / rate)
    moving = moved / bandwidth
    known = ~np.isnan(moving) & (~np.isnan(computing) | np.isnan(flops))
    attainable = np.where(known, np.fmax(computing, moving), np.nan)
    side = np.where(
        ~known | np.isnan(flops), "", np.where(computing > moving, COMPUTE, MEMORY)
    ).astype(object)
    unknown = side == ""
    side[unknown] = side_without_peaks(flops, moved, calls["device"].to_numpy(np.int64))[unknown]
    work = calls["work_ns"].to_numpy(np.float64)
    share = np.divide(attainable * 1e9, work, out=np.full(len(work), np.nan), where=work > 0)
    return calls.assign(
        side=side, attainable_ns=attainable * 1e9, roof_share=share, reached=reached
    )


def rates_of_calls(trace: Trace, calls: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Return FLOP/s and bytes/s of each call's device, and the share that good code reaches.

    NaN where they are unknown.
    """
    rate, bandwidth, reached = (np.full(len(calls), np.nan) for _ in range(3))
    found = trace.fact(roofs)
    keys = calls[["process", "device", "dtype", "matrix"]]
    of = keys.groupby(list(keys), sort=False).ngroup().to_numpy()
    for number, (process, device, dtype, matrix) in enumerate(
        keys.drop_duplicates().itertuples(index=False)
    ):
        peaks, rows = found.get((int(process), int(device)), ""), of == number
        if isinstance(peaks, Peaks):
            rate[rows] = peaks.flops_per_s(str(dtype), matrix=bool(matrix)) or np.nan
            bandwidth[rows] = peaks.bytes_per_s
            reached[rows] = (
                LIMITS.reached_of_measured if peaks.measured else LIMITS.reached_of_data_sheet
            )
    return rate, bandwidth, reached


def side_without_peaks(flops: Floats, moved: Floats, device: Ints) -> NDArray[np.object_]:
    """Return the side where no peaks are needed: no machine's ridge is beyond these intensities."""
    intensity = np.divide(flops, moved, out=np.full(len(moved), np.nan), where=moved > 0)
    enough = np.where(
        device == NO_DEVICE, LIMITS.compute_bound_intensity_on_cpu, LIMITS.compute_bound_intensity
    )
    low, high = intensity <= LIMITS.memory_bound_intensity, intensity >= enough
    return np.where(low, MEMORY, np.where(high, COMPUTE, "")).astype(object)


def roofline_table(trace: Trace) -> pd.DataFrame:
    """Return one row per operator, shapes and type on each device; within a rank the longest first.

    Columns: rank, process, device, name, shapes, dtype, matrix, count, work_ns, flops and bytes
    (sums), intensity (FLOP per byte), flops_per_s and bytes_per_s (achieved), attainable_ns,
    roof_share (1 is the roof), side (what bounds it), mark (why it is above its roof, "" for one
    that is not), longest_ts, longest_ns (its longest call).
    """
    calls = trace.fact(roofed_calls)
    names = [
        "rank",
        *GROUP,
        "count",
        "work_ns",
        "flops",
        "bytes",
        "attainable_ns",
        "intensity",
        "flops_per_s",
    ]
    names += ["bytes_per_s", "roof_share", "side", "mark", "longest_ts", "longest_ns"]
    if not len(calls):
        return pd.DataFrame(columns=names)
    calls = calls.assign(shapes=calls["shapes"].fillna(""))
    groups = calls.groupby(GROUP, sort=False)
    sums = groups.agg(
        count=("op", "size"),
        work_ns=("work_ns", "sum"),
        flops=("flops", lambda of: of.sum(skipna=False)),
        bytes=("bytes", "sum"),
        attainable_ns=("attainable_ns", lambda of: of.sum(skipna=False)),
        side=("side", "first"),
    )
    longest = calls.loc[groups["work_ns"].idxmax()]
    found = sums.reset_index().assign(
        longest_ts=longest["ts"].to_numpy(), longest_ns=longest["span_ns"].to_numpy()
    )
    found = with_rates(found)
    ranks = rank_of_work(trace)
    found.insert(0, "rank", [ranks.get(int(process), 0) for process in found["process"]])
    found["mark"] = roof_marks(found)
    return found.sort_values(["rank", "work_ns"], ascending=[True, False], ignore_index=True)[names]


def with_rates(sums: pd.DataFrame) -> pd.DataFrame:
    """Return the sums of work_ns, flops, bytes and attainable_ns with the rates that follow."""
    seconds = sums["work_ns"] / 1e9
    return sums.assign(
        intensity=sums["flops"] / sums["bytes"].where(sums["bytes"] > 0),
        flops_per_s=sums["flops"] / seconds.where(seconds > 0),
        bytes_per_s=sums["bytes"] / seconds.where(seconds > 0),
        roof_share=sums["attainable_ns"] / sums["work_ns"].where(sums["work_ns"] > 0),
    )


def roof_marks(rows: pd.DataFrame) -> list[str]:
    """Return why each row is above its roof, "" for a row that is not."""
    above = rows["roof_share"] > LIMITS.above_roof
    short = rows["work_ns"] / rows["count"] < SHORTEST_NS
    return [
        "" if not high else SHORT if brief else FASTER if side == COMPUTE else CACHED
        for high, brief, side in zip(above, short, rows["side"], strict=True)
    ]
