"""How the ranks differ: which arrives last at the collectives, how long the others wait for it, and
what it spends more time on.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.span_budget import category_times
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORY_IDS, PEER_WAIT
from perfscope.analyzer.run.accelerators.device_activity import activity, rows_on
from perfscope.analyzer.run.budget_units import Unit, units
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints, covered, intersected, merged, subtracted
from perfscope.traces.trace import Trace

COLUMNS = ("rank", "process", "device", "matched", "last", "caused_ns", "waited_ns", "window_ns")


def rank_skew(trace: Trace) -> pd.DataFrame:
    """Return one row per rank (a device of a process), all int64.

    It is over its steady steps or, without steps, over its whole recording.

    `matched`: collectives that other ranks were recorded in too; `last`: at how many of these it
    arrived last; `caused_ns`: the time that the others waited for it in total, without overlap with
    computation; `waited_ns`: the time that it waited for others; `window_ns`: the length of these
    steps; then the time in each category of the time budget. Empty without matches.
    """
    found = trace.fact(matched_collectives)
    frame = table(trace, "collectives")
    everyone = units(trace)
    if frame is None or not (found["match"] >= 0).any():
        return pd.DataFrame({name: np.empty(0, np.int64) for name in (*COLUMNS, *CATEGORY_IDS)})
    unit_of = unit_of_rows(frame, everyone)
    last_unit = np.append(unit_of, -1)[column(found, "last_row")]
    caused = np.zeros(len(everyone), np.int64)
    is_matched = column(found, "match") >= 0
    by_unit = np.argsort(unit_of, kind="stable")
    edges = np.searchsorted(unit_of[by_unit], np.arange(len(everyone) + 1))
    rows = []
    for number, unit in enumerate(everyone):
        begin, end = windows(trace, unit)
        of_unit = by_unit[edges[number] : edges[number + 1]]
        matched = of_unit[is_matched[of_unit]]
        for other in np.unique(last_unit[matched]):
            if other != number and other >= 0:
                waiting = of_unit[last_unit[of_unit] == other]
                caused[other] += exposed_waiting_ns(trace, unit, waiting, begin, end)
        budget = {
            name: int(ns.sum()) for name, ns in category_times(trace, unit, begin, end).items()
        }
        rows.append(
            {
                "rank": unit.rank,
                "process": unit.process,
                "device": unit.device,
                "matched": len(matched),
                "last": int((last_unit[matched] == number).sum()),
                "waited_ns": budget.get(PEER_WAIT, 0),
                "window_ns": int((end - begin).sum()),
                **{name: budget.get(name, 0) for name in CATEGORY_IDS},
            }
        )
    skew = pd.DataFrame(rows).assign(caused_ns=caused)
    return skew[[*COLUMNS, *CATEGORY_IDS]].astype("int64")


def windows(trace: Trace, unit: Unit) -> tuple[Ints, Ints]:
    """Return (begins, ends) of the steady steps of the process, else of its whole recording."""
    of_process = fact_rows(trace, steady_budget, unit.process)
    if len(of_process):
        begin = column(of_process, "ts")
        return begin, begin + column(of_process, "dur")
    return np.array([unit.begin_ns], np.int64), np.array([unit.end_ns], np.int64)


def unit_of_rows(frame: pd.DataFrame, everyone: list[Unit]) -> Ints:
    """Return the number of the unit of each row of `collectives`, -1 for none."""
    numbers = {(unit.process, unit.device): number for number, unit in enumerate(everyone)}
    pairs = zip(column(frame, "process").tolist(), column(frame, "device").tolist(), strict=True)
    return np.array([numbers.get(key, -1) for key in pairs], np.int64)


def exposed_waiting_ns(trace: Trace, unit: Unit, rows: Ints, begin: Ints, end: Ints) -> int:
    """Return the exposed waiting of a device in these rows of `collectives`, ns in its windows."""
    frame = table(trace, "collectives")
    ts = column(frame, "ts")[rows]
    ends = ts + column(frame, "dur")[rows]
    arrival = column(trace.fact(matched_collectives), "arrival_ns")[rows]
    before = merged((ts, np.clip(arrival, ts, ends)))
    busy = activity(trace, unit)
    exposed = subtracted(intersected(before, busy.waiting), busy.compute)
    return int(covered(exposed, begin, end).sum())


def slower_kernels(trace: Trace, rank: int) -> pd.DataFrame:
    """Return the kernels that take a rank longer than the others, the largest excess first.

    Columns name, own_ns (its time in them), usual_ns (the median of the others), more_ns. Only
    computation counts: a longer collective is waiting.
    """
    skew = trace.fact(rank_skew)
    sums, known_ranks = {}, set(skew["rank"].tolist())
    for unit in units(trace):
        rows = rows_on(trace, "kernels", unit)
        if rows is not None and unit.rank in known_ranks:
            rows = rows[rows["kind"] == "compute"]
            sums[unit.rank] = rows.groupby("name", observed=True)["dur"].sum()
    table_ = pd.DataFrame(sums).fillna(0.0)
    others = table_.drop(columns=[rank], errors="ignore")
    if rank not in table_ or not others.shape[1]:
        return pd.DataFrame({"name": [], "own_ns": [], "usual_ns": [], "more_ns": []})
    usual = others.median(axis=1)
    made = pd.DataFrame(
        {
            "name": table_.index.astype(str),
            "own_ns": table_[rank].to_numpy(),
            "usual_ns": usual.to_numpy(),
        }
    )
    made["more_ns"] = made["own_ns"] - made["usual_ns"]
    return made[made["more_ns"] > 0].sort_values("more_ns", ascending=False, ignore_index=True)
