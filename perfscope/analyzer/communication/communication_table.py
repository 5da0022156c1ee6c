"""Collectives by group and kind: their count, size and time, the exposed part, and the waiting for
peers.
"""

from typing import Any

import numpy as np
import pandas as pd

from perfscope.analyzer.communication.overlap import exposed_collectives
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.traces.trace import Trace

COLUMNS = (
    "rank",
    "group",
    "kind",
    "count",
    "sum_ns",
    "mean_ns",
    "exposed_ns",
    "wait_ns",
    "bytes",
    "longest_ts",
)
UNKNOWN = "not recorded"


def communication_table(trace: Trace) -> pd.DataFrame:
    """Return one row per rank, process group and kind of collective, most time first.

    Columns: rank, group, kind (text), count, sum_ns, mean_ns, exposed_ns (not overlapped),
    wait_ns (before the last of the recorded ranks arrived; -1 where no peer was recorded), bytes
    (inputs; -1 unknown), longest_ts (where the longest starts).
    """
    rows = exposed_collectives(trace)
    if not len(rows):
        return pd.DataFrame(columns=list(COLUMNS))
    match = trace.fact(matched_collectives).loc[rows.index]
    known = match["arrival_ns"].to_numpy() >= 0
    waited = np.clip(
        match["arrival_ns"].to_numpy() - rows["ts"].to_numpy(), 0, rows["dur"].to_numpy()
    )
    named = rows.assign(
        group=rows["group"].astype(object).where(rows["group"].notna(), UNKNOWN),
        kind=rows["kind"].astype(object).where(rows["kind"].notna(), UNKNOWN),
        wait_ns=np.where(known, waited, 0),
        known=known,
        sized=rows["in_bytes"].clip(lower=0),
    )
    groups = named.groupby(["rank", "group", "kind"], sort=False)
    found = groups.agg(
        count=("dur", "count"),
        sum_ns=("dur", "sum"),
        mean_ns=("dur", "mean"),
        exposed_ns=("exposed_ns", "sum"),
        wait_ns=("wait_ns", "sum"),
        bytes=("sized", "sum"),
        any_known=("known", "any"),
        any_size=("in_bytes", "max"),
    ).reset_index()
    found["wait_ns"] = found["wait_ns"].where(found["any_known"], -1)
    found["bytes"] = found["bytes"].where(found["any_size"] >= 0, -1)
    found["longest_ts"] = named["ts"].to_numpy()[first_longest(named, groups)]
    return found.sort_values(["rank", "sum_ns"], ascending=[True, False], ignore_index=True)[
        list(COLUMNS)
    ]


def first_longest(rows: pd.DataFrame, groups: Any) -> list[int]:
    """Return the position of the longest row of each group, in the order of the groups."""
    dur = rows["dur"].to_numpy()
    groups_of_rows = groups.indices.values()
    return [int(positions[int(dur[positions].argmax())]) for positions in groups_of_rows]
