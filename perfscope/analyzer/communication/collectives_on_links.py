"""How near the collectives of a profiler's trace come to the peak of their links, for the findings
about links; and why that is unknown.
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
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace

CONVENTION = (
    "bus bandwidth is nccl-tests' convention: bytes times the part of them that crosses the slowest"
    " link, over the time from the last arrival to the end"
)
MOST_KINDS = 4
MOST_RATES = 2
NO_COLLECTIVES = Unmet("one-process", "no communication ran on the device")
NO_SIZES = Unmet(
    "not-in-this-format",
    "the sizes of its collectives are not in the trace (torch 2.4 and newer record them)",
)


@dataclass(frozen=True)
class CollectiveLinkUse:
    """The collectives on one kind of path.

    `near_share` is the share of their time near the peak; `exposed_ns` is the part of them that the
    case's rank does not overlap with computation.
    """

    rows: pd.DataFrame
    near_share: float
    exposed_ns: int


def unclear_link(trace: Trace, path: str, limits: Limits) -> Unmet | None:
    """Return why collectives cannot show whether the links of `path` are full."""
    rows = trace.fact(collective_links)
    if not len(rows):
        return NO_COLLECTIVES
    sized = rows[rows["bus_bytes_per_s"].notna()]
    if not len(sized):
        return NO_SIZES
    on_path = sized[sized["path"] == path]
    if not len(on_path):
        return no_collectives_on_path(sized, path)
    first = longest_collectives(on_path)
    if on_path["peak_bytes_per_s"].isna().all():
        return Unmet("other", f"{bus_bandwidth_text(first)}, and {first['peak_why']}")
    if near_peak_share(on_path) >= limits.bus_full_share:
        return None
    if on_path["at_least"].any():
        return Unmet(
            "one-process",
            f"{peak_comparison(first)}: the trace of one rank can show a full link, never clear"
            " it; analyze those of all ranks",
        )
    if on_path["peak_at_most"].any():
        reason = "and which links connect these devices is not recorded"
        return Unmet("not-in-this-format", f"{peak_comparison(first)}, {reason}")
    if on_path["reduced"].any():
        reason = "and its switches may reduce (NVLink SHARP), so that more may cross them"
        return Unmet("other", f"{peak_comparison(first)}, {reason}")
    return None


def no_collectives_on_path(rows: pd.DataFrame, path: str) -> Unmet:
    """Return where the communication goes instead of `path`."""
    first = longest_collectives(rows)
    if (rows["path"] == DEVICE_LINKS).any():
        return Unmet("one-process", "no group of its collectives spans hosts")
    if (rows["path"] == NETWORK).any():
        return Unmet("other", f"its collectives go over the network: {first['peak_why']}")
    return Unmet("other", f"{bus_bandwidth_text(first)}; {first['peak_why']}")


def use_of_path(case: Case, path: str) -> CollectiveLinkUse:
    """Return how much the collectives use the links of `path`."""
    rows = case.trace.fact(collective_links)
    on_path = rows[(rows["path"] == path) & rows["near_share"].notna()]
    return CollectiveLinkUse(on_path, near_peak_share(on_path), exposed_on_path(case, path))


def exposed_on_path(case: Case, path: str) -> int:
    """Return the ns in which the rank's device only communicates, in collectives on `path`."""
    collectives = case.trace.fact(exposed_collectives)
    if not len(collectives):
        return 0
    collectives = collectives[collectives["rank"] == case.unit.rank]
    exposed = column(collectives, "exposed_ns")
    whole_ns = int(exposed.sum())
    if not whole_ns:
        return 0
    numbers = case.trace.fact(collective_numbers)[collectives.index.to_numpy()]
    paths = case.trace.fact(near_peak)["path"]
    on_path = (paths.loc[numbers] == path).to_numpy()
    budget_ns = total(case.of(EXPOSED_COMMUNICATION))
    return round(budget_ns * int(exposed[on_path].sum()) / whole_ns)


def near_peak_share(rows: pd.DataFrame) -> float:
    """Return the share of the time of these collectives that is near the peak."""
    known = rows[rows["near_share"].notna()]
    busy_ns = float(known["busy_ns"].sum())
    return float(known["near_ns"].sum()) / busy_ns if busy_ns else 0.0


def longest_collectives(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return the row with most time."""
    return rows.iloc[int(np.argmax(rows["busy_ns"].to_numpy()))]


def bus_bandwidth_text(row: "pd.Series[float]") -> str:
    """Return `all_reduce in group 0 [0, 1]: bus bandwidth at least 6.56 GB/s`."""
    least = "at least " if row["at_least"] else ""
    rate = gigabytes_per_s(float(row["bus_bytes_per_s"]))
    return f"{row['kind']} in group {row['group']}: bus bandwidth {least}{rate}"


def peak_comparison(row: "pd.Series[float]") -> str:
    """Return the bandwidth, the peak of the links, and the source of the peak."""
    most = "at most " if row["peak_at_most"] else ""
    peak = gigabytes_per_s(float(row["peak_bytes_per_s"]))
    return (
        f"{bus_bandwidth_text(row)}, {percent(share_of_peak(row))} of the {most}{peak} of"
        f" {row['technology']} of {row['device']} ({row['peak_source']})"
    )


def share_of_peak(row: "pd.Series[float]") -> float:
    """Return the carried bytes per second over the peak."""
    return float(row["carried_bytes_per_s"]) / float(row["peak_bytes_per_s"])


def link_evidence(case: Case, use: CollectiveLinkUse) -> list[Evidence]:
    """Return each kind of collective against the peak, the longest first."""
    found = []
    for _, row in use.rows.sort_values("busy_ns", ascending=False).head(MOST_KINDS).iterrows():
        near = percent(float(row["near_share"]))
        count = plural(int(row["count"]), "collective")
        text = f"{peak_comparison(row)}; {count}, {near} of their time near it"
        found.append(peak_evidence(case, row, text))
    return [*found, Evidence(CONVENTION)]


def rate_evidence(case: Case) -> list[Evidence]:
    """Return the bandwidth of the longest kinds of collectives whose peak is known."""
    rows = case.trace.fact(collective_links)
    known = rows[rows["near_share"].notna()] if len(rows) else rows
    most = known.sort_values("busy_ns", ascending=False).head(MOST_RATES)
    return [peak_evidence(case, row, peak_comparison(row)) for _, row in most.iterrows()]


def peak_evidence(case: Case, row: "pd.Series[float]", text: str) -> Evidence:
    """Return evidence whose value is the share of the peak."""
    return Evidence(text, round(share_of_peak(row), 4), "share", process=case.unit.process)


def gigabytes_per_s(bytes_per_s: float) -> str:
    """Return a rate as text in GB/s (powers of ten)."""
    return f"{digits(bytes_per_s / 1e9)} GB/s"
