"""What collectives in recorded traces say of a link: full, not full, or not to be told, and why.
For the findings of links.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.trace_case import Case, total
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.collective_links import collective_links, near_peak
from perfscope.analyzer.communication.collective_rates import collective_numbers
from perfscope.analyzer.communication.group_path import DEVICE_LINKS, NETWORK
from perfscope.analyzer.communication.overlap import exposed_collectives
from perfscope.analyzer.diagnosis import Evidence
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

CONVENTION = (
    "bus bandwidth is nccl-tests' convention: bytes times what of them has to cross the slowest"
    " link, over the time from the last arrival to the end"
)
MOST_KINDS = 4


@dataclass(frozen=True)
class LinkUse:
    """The collectives on one kind of path. `near_share`: of their time near the peak; `exposed_ns`:
    what of them the rank of the case does not hide behind computation.
    """

    rows: pd.DataFrame
    near_share: float
    exposed_ns: int


def why_not(trace: Trace, path: str, limits: Limits) -> str | None:
    """Why collectives cannot say whether the links of this path are full, None when they can."""
    rows = trace.fact(collective_links)
    if not len(rows):
        return "no communication ran on the device"
    if rows["bus_bytes_per_s"].isna().all():
        return "the sizes of its collectives are not in the trace (torch 2.4 and newer record them)"
    known = rows[rows["bus_bytes_per_s"].notna()]
    mine = known[known["path"] == path]
    if not len(mine):
        return _elsewhere(known, path)
    if mine["peak_bytes_per_s"].isna().all():
        return f"{rate_of(largest(mine))}, and {largest(mine)['peak_why']}"
    if full_share(mine) >= limits.bus_full_share:
        return None
    first = largest(mine)
    if mine["at_least"].any():
        return (
            f"{against_peak(first)}: from one rank's trace this can show a full link, never clear"
            " it; give those of all ranks"
        )
    if mine["peak_at_most"].any():
        return f"{against_peak(first)}, and which links lie between these devices is not recorded"
    if mine["reduced"].any():
        return (
            f"{against_peak(first)}, and its switches may reduce (NVLink SHARP), so that more may"
            " cross them"
        )
    return None


def _elsewhere(rows: pd.DataFrame, path: str) -> str:
    """Where the communication goes instead."""
    if (rows["path"] == DEVICE_LINKS).any():
        return "no group of its collectives spans hosts"
    if (rows["path"] == NETWORK).any():
        return f"its collectives go over the network: {largest(rows)['peak_why']}"
    return f"{rate_of(largest(rows))}; {largest(rows)['peak_why']}"


def link_use(case: Case, path: str) -> LinkUse:
    """The collectives on this path."""
    rows = case.trace.fact(collective_links)
    mine = rows[(rows["path"] == path) & rows["near_share"].notna()]
    return LinkUse(mine, full_share(mine), exposed_on(case, path))


def exposed_on(case: Case, path: str) -> int:
    """Time of the case's rank in which the device only communicates, of the collectives on this
    path, ns.
    """
    talks = case.trace.fact(exposed_collectives)
    if not len(talks):
        return 0
    talks = talks[talks["rank"] == case.unit.rank]
    paths = case.trace.fact(near_peak)["path"]
    number = case.trace.fact(collective_numbers)[talks.index.to_numpy()]
    exposed = column(talks, "exposed_ns")
    mine = (paths.loc[number] == path).to_numpy()
    whole = int(exposed.sum())
    return (
        round(total(case.of(EXPOSED_COMMUNICATION)) * int(exposed[mine].sum()) / whole)
        if whole
        else 0
    )


def full_share(rows: pd.DataFrame) -> float:
    """Share of the time of these collectives that is near the peak."""
    known = rows[rows["near_share"].notna()]
    busy = float(known["busy_ns"].sum())
    return float(known["near_ns"].sum()) / busy if busy else 0.0


def largest(rows: pd.DataFrame) -> "pd.Series[float]":
    """The row with most time."""
    return rows.iloc[int(np.argmax(rows["busy_ns"].to_numpy()))]


def rate_of(row: "pd.Series[float]") -> str:
    """`all_reduce in group 0 [0, 1]: bus bandwidth at least 6.56 GB/s`."""
    least = "at least " if row["at_least"] else ""
    return (
        f"{row['kind']} in group {row['group']}: bus bandwidth"
        f" {least}{gigabytes(float(row['bus_bytes_per_s']))}"
    )


def against_peak(row: "pd.Series[float]") -> str:
    """The rate, the peak of the links and where that is from."""
    most = "at most " if row["peak_at_most"] else ""
    share = float(row["carried_bytes_per_s"]) / float(row["peak_bytes_per_s"])
    return (
        f"{rate_of(row)}, {percent(share)} of the {most}{gigabytes(float(row['peak_bytes_per_s']))}"
        f" of {row['technology']} of {row['device']} ({row['peak_source']})"
    )


def evidence(case: Case, use: LinkUse) -> list[Evidence]:
    """Each kind of collective against the peak, the longest first."""
    found = []
    for _, row in use.rows.sort_values("busy_ns", ascending=False).head(MOST_KINDS).iterrows():
        near = (
            f"{plural(int(row['count']), 'collective')}, {percent(float(row['near_share']))} of"
            " their time near it"
        )
        found.append(_share(case, row, f"{against_peak(row)}; {near}"))
    return [*found, Evidence(CONVENTION)]


def rates(case: Case) -> list[Evidence]:
    """What the largest kinds of collectives reach of their links' peak, of those whose peak is
    known.
    """
    rows = case.trace.fact(collective_links)
    known = rows[rows["near_share"].notna()] if len(rows) else rows
    most = known.sort_values("busy_ns", ascending=False).head(2)
    return [_share(case, row, against_peak(row)) for _, row in most.iterrows()]


def _share(case: Case, row: "pd.Series[float]", text: str) -> Evidence:
    share = float(row["carried_bytes_per_s"]) / float(row["peak_bytes_per_s"])
    return Evidence(text, round(share, 4), "share", rank=case.unit.rank, process=case.unit.process)


def gigabytes(bytes_per_s: float) -> str:
    """A rate in GB/s, powers of ten."""
    return f"{digits(bytes_per_s / 1e9)} GB/s"
