"""The bandwidth of each kind of collective in each process group, and its exposed time.

Bus bandwidth is nccl-tests' convention: bytes times the part of them that crosses the slowest link
in the best algorithm, so that it can be compared with the link's peak. Where switches reduce (NVLS,
SHARP) less crosses, and the figure may exceed the link.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.device_activity import activity
from perfscope.analyzer.run.budget_units import units
from perfscope.analyzer.run.process_rows import RowsByCode
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints, covered
from perfscope.traces.trace import Trace

COLUMNS = (
    "group",
    "kind",
    "count",
    "ranks",
    "group_size",
    "bytes",
    "busy_ns",
    "waited_ns",
    "exposed_ns",
    "bus_bytes_per_s",
    "at_least",
)
EACH = (
    "group",
    "kind",
    "group_size",
    "ranks",
    "arrival_ns",
    "end_ns",
    "busy_ns",
    "waited_ns",
    "exposed_ns",
    "size_bytes",
    "crossed_bytes",
    "at_least",
)


def collective_rates(trace: Trace) -> pd.DataFrame:
    """Return one row per group and kind of collective.

    `count`: collectives, each counted once however many ranks recorded it; `bytes`: the size that
    nccl-tests divides by time, of all of them, -1 where one is unknown; `busy_ns`: from the last
    arrival to the last end, of all of them; `waited_ns`: before the last arrival, and `exposed_ns`:
    not overlapped with computation, both summed over the ranks; `bus_bytes_per_s`: NaN where bytes
    or the size of the group are unknown; `at_least`: not all ranks of the group were recorded, so
    that waiting for the missing ones is in `busy_ns`.
    """
    once = trace.fact(each_collective)
    if not len(once):
        return pd.DataFrame(columns=list(COLUMNS))
    once = once.assign(
        is_sized=once["size_bytes"] >= 0, is_crossing=once["crossed_bytes"].notna().to_numpy(bool)
    )
    kinds = once.groupby(["group", "kind"], dropna=False, observed=True, sort=True)
    found = kinds.agg(
        count=("ranks", "size"),
        ranks=("ranks", "min"),
        group_size=("group_size", "max"),
        bytes=("size_bytes", "sum"),
        busy_ns=("busy_ns", "sum"),
        waited_ns=("waited_ns", "sum"),
        exposed_ns=("exposed_ns", "sum"),
        at_least=("at_least", "any"),
        crossed=("crossed_bytes", "sum"),
        is_sized=("is_sized", "all"),
        is_crossing=("is_crossing", "all"),
    ).reset_index()
    busy = found["busy_ns"].to_numpy(np.float64)
    known = found["is_crossing"].to_numpy(bool) & (busy > 0)
    crossed = np.where(known, found["crossed"].to_numpy(np.float64), np.nan)
    return found.assign(
        bytes=found["bytes"].where(found["is_sized"].to_numpy(bool), -1),
        bus_bytes_per_s=crossed / np.where(known, busy, 1.0) * 1e9,
    )[list(COLUMNS)]


def each_collective(trace: Trace) -> pd.DataFrame:
    """Return each collective once, by its number (see collective_numbers).

    Columns group, kind, group_size, ranks (that recorded it), arrival_ns, end_ns, busy_ns,
    waited_ns, exposed_ns (both summed over the ranks), size_bytes, crossed_bytes (size times
    nccl-tests' factor, NaN unknown), at_least.
    """
    frame = table(trace, "collectives")
    if frame is None or not len(frame):
        return pd.DataFrame({name: [] for name in EACH})
    found = trace.fact(matched_collectives)
    alone = column(found, "match") < 0
    ts = column(frame, "ts")
    end = ts + column(frame, "dur")
    arrival = np.where(alone, ts, column(found, "arrival_ns"))
    rows = pd.DataFrame(
        {
            "number": trace.fact(collective_numbers),
            "group": frame["group"].astype(object),
            "kind": frame["kind"].astype(object),
            "group_size": column(frame, "group_size"),
            "ranks": np.where(alone, 1, column(found, "ranks")),
            "arrival_ns": arrival,
            "end_ns": end,
            "waited_ns": np.clip(arrival, ts, end) - ts,
            "exposed_ns": end - ts - overlap_with_compute_ns(trace, frame),
            "size_bytes": sized_bytes(frame),
        }
    )
    combined = dict.fromkeys(rows.columns, "max") | {"group": "first", "kind": "first"}
    combined |= {"waited_ns": "sum", "exposed_ns": "sum"}
    del combined["number"]
    once = rows.groupby("number").agg(combined)
    once["busy_ns"] = np.maximum(once["end_ns"] - once["arrival_ns"], 0)
    factor = bus_factor(once["kind"].to_numpy(str), column(once, "group_size"))
    once["crossed_bytes"] = np.where(once["size_bytes"] >= 0, once["size_bytes"], np.nan) * factor
    once["at_least"] = (once["ranks"] < once["group_size"]) | (once["group_size"] < 0)
    return once[list(EACH)]


def collective_numbers(trace: Trace) -> Ints:
    """Return the number of the collective of each row: the same on all ranks that took part."""
    match = column(trace.fact(matched_collectives), "match")
    alone = match < 0
    numbers: Ints = np.where(alone, match.max(initial=-1) + np.cumsum(alone), match)
    return numbers


def overlap_with_compute_ns(trace: Trace, frame: pd.DataFrame) -> Ints:
    """Return the ns of each row that overlap with computation on its device."""
    hidden = np.zeros(len(frame), np.int64)
    device = column(frame, "device")
    ts, end = column(frame, "ts"), column(frame, "ts") + column(frame, "dur")
    by_process = RowsByCode(frame.reset_index(drop=True))
    for unit in units(trace):
        of_unit = by_process.rows(unit.process).index.to_numpy()
        of_unit = of_unit[device[of_unit] == unit.device]
        hidden[of_unit] = covered(activity(trace, unit).compute, ts[of_unit], end[of_unit])
    return hidden


def sized_bytes(frame: pd.DataFrame) -> Ints:
    """Return the size that nccl-tests divides by time.

    It is the output of a rank for all_gather, its input for the others.
    """
    gathers = (frame["kind"] == "all_gather").to_numpy()
    size: Ints = np.where(gathers, column(frame, "out_bytes"), column(frame, "in_bytes"))
    return size


def bus_factor(kinds: "np.typing.NDArray[np.str_]", size: Ints) -> "np.typing.NDArray[np.float64]":
    """Return bus bandwidth over algorithm bandwidth (nccl-tests, doc/PERFORMANCE.md).

    NaN where the size of the group is unknown.
    """
    ranks = np.where(size > 0, size, 1).astype(np.float64)
    part = (ranks - 1.0) / ranks
    whole = np.isin(kinds, ("broadcast", "reduce", "send", "recv", "send_recv"))
    factor = np.select(
        [
            kinds == "all_reduce",
            np.isin(kinds, ("all_gather", "reduce_scatter", "all_to_all")),
            whole,
        ],
        [2.0 * part, part, np.ones(len(ranks))],
        default=np.nan,
    )
    return np.where((size > 0) | whole, factor, np.nan)
