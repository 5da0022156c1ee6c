"""The share of each device's time whose FLOPs and bytes are known, and why those of the rest are
not.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.call_costs import Work, communicates, device_work, over_a_link
from perfscope.analyzer.compute.costs import family_of, has_model
from perfscope.analyzer.compute.work_units import rank_of_work
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

MODELLED, SIZES, NO_SIZES = "modelled", "bytes of the trace", "sizes not recorded"
NO_MODEL, NO_INPUTS = "no model", "its inputs are not sufficient"
REPLAYED, BEFORE, OUTSIDE = (
    "replayed as a graph",
    "launched before the recording",
    "launched outside of operators",
)
WITH_COST = (MODELLED, SIZES)
UNREACHABLE = (REPLAYED, BEFORE, OUTSIDE)


def roof_coverage(trace: Trace) -> pd.DataFrame:
    """Return one row per device, reason and name; within a rank and device the longest first.

    Work that runs at the same time counts in full.

    Columns: rank, process, device, why (MODELLED: its operator has a cost; SIZES: copies and
    collectives whose bytes are in the trace; else why it has none), name (the family of what is
    modelled, the operator or kernel of what is not), count, work_ns, share (of all work of that
    device).
    """
    work = trace.fact(device_work)
    columns = ["rank", "process", "device", "why", "name", "count", "work_ns", "share"]
    if not len(work.dur):
        return pd.DataFrame(columns=columns)
    why, name = reasons_and_names(trace, work)
    frame = pd.DataFrame(
        {
            "process": work.process,
            "device": work.device,
            "why": why,
            "name": name,
            "work_ns": work.dur,
        }
    )
    keys = ["process", "device"]
    found = (
        frame.groupby([*keys, "why", "name"], sort=False)["work_ns"]
        .agg(count="size", work_ns="sum")
        .reset_index()
    )
    found["share"] = found["work_ns"] / found.groupby(keys)["work_ns"].transform("sum").clip(
        lower=1
    )
    ranks = rank_of_work(trace)
    found.insert(0, "rank", [ranks.get(int(process), 0) for process in found["process"]])
    return found.sort_values(
        ["rank", "device", "work_ns"], ascending=[True, True, False], ignore_index=True
    )[columns]


def costed_share(rows: pd.DataFrame, *, reachable: bool) -> float:
    """Return the share of these rows' time that has a cost, 0..1; NaN without rows.

    `reachable`: only of work that a recorded operator launched, because the inputs of the rest are
    not in the trace.
    """
    counted = rows[~rows["why"].isin(UNREACHABLE)] if reachable else rows
    whole = float(counted["work_ns"].sum())
    if whole <= 0:
        return float("nan")
    costed = counted[counted["why"].isin(WITH_COST)]
    return float(costed["work_ns"].sum()) / whole


def reasons_and_names(trace: Trace, work: Work) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return why each piece has a cost or none, and its name."""
    ops, kernels, copies = table(trace, "ops"), table(trace, "kernels"), table(trace, "copies")
    op_names = np.append(np.empty(0, object) if ops is None else ops["name"].to_numpy(object), "")
    kernel_names = np.append(
        np.empty(0, object) if kernels is None else kernels["name"].to_numpy(object), ""
    )
    operator, kernel = op_names[work.op], kernel_names[work.kernel]
    families = {name: family_of(str(name)) for name in set(operator)}
    family = np.array([families[name] for name in operator], object)
    modelled = np.array([has_model(str(name)) for name in operator], bool)
    graph = np.append(
        np.zeros(0, bool) if kernels is None else kernels["graph"].to_numpy(bool), False
    )[work.kernel]
    launch = np.append(column(kernels, "launch"), -1)[work.kernel]
    is_copy, link, talks = work.copy >= 0, over_a_link(trace, work), communicates(trace, work)
    sized = np.append(column(copies, "bytes"), -1)[work.copy] >= 0
    has_size = have_recorded_size(trace, len(column(kernels, "ts")))[work.kernel]
    no_op = work.op < 0
    moves = is_copy & (link | ~work.costed)
    why = np.select(
        [
            talks & (has_size | work.costed),
            moves & sized,
            talks & no_op & (launch < 0),
            talks | moves,
            work.costed,
            no_op & graph,
            no_op & (launch < 0),
            no_op,
            modelled,
        ],
        [SIZES, SIZES, BEFORE, NO_SIZES, MODELLED, REPLAYED, BEFORE, OUTSIDE, NO_INPUTS],
        NO_MODEL,
    ).astype(object)
    why[(why == NO_MODEL) & graph] = REPLAYED
    unnamed = np.isin(why, UNREACHABLE)
    name = np.where(
        talks, "communication", np.where(moves, "copies", np.where(work.costed, family, operator))
    )
    return why, np.where(unnamed & ~talks & ~moves, kernel, name)


def have_recorded_size(trace: Trace, kernels: int) -> NDArray[np.bool_]:
    """Return which rows of `kernels` are collectives of known size, and False for row -1."""
    found, rows = np.zeros(kernels + 1, bool), table(trace, "collectives")
    if rows is not None:
        known = (
            (column(rows, "in_bytes") >= 0)
            & (column(rows, "out_bytes") >= 0)
            & (column(rows, "kernel") >= 0)
        )
        found[column(rows, "kernel")[known]] = True
    return found
