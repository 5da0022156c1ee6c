"""Each kind of collective in each group against the peak of the links between its members.

What counts is the share of the transfer time that is near the peak, not the mean: a slow small
collective does not cancel nine large ones.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.communication.collective_rates import collective_rates, each_collective
from perfscope.analyzer.communication.group_path import GroupPath, group_path
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.trace import Trace

COLUMNS = (
    "group",
    "kind",
    "path",
    "technology",
    "device",
    "peak_bytes_per_s",
    "peak_source",
    "peak_why",
    "peak_at_most",
    "reduced",
    "near_ns",
    "busy_ns",
    "near_share",
    "bus_bytes_per_s",
    "carried_bytes_per_s",
    "at_least",
    "count",
    "group_size",
    "exposed_ns",
)
REDUCED = ("all_reduce",)
"""Where switches reduce and multicast, a rank sends and receives each byte of these about once; of
the others it receives as much as without.
"""


def collective_links(trace: Trace) -> pd.DataFrame:
    """Return one row for each row of `collective_rates`.

    `path`, `technology`, `device`, `peak_*`: as in GroupPath; `carried_bytes_per_s`: the least that
    the links carry, which is the bus bandwidth unless switches may reduce; `reduced`: they may;
    `near_ns`: time of collectives that carry at least `near_bus_peak` of the peak; `near_share`: of
    `busy_ns` (NaN where peak or bytes are unknown).
    """
    rates, each = trace.fact(collective_rates), trace.fact(near_peak)
    if not len(rates):
        return pd.DataFrame(columns=list(COLUMNS))
    kinds = each.groupby(["group", "kind"], dropna=False, observed=True, sort=True)
    sums = kinds[["near_ns", "carried_bytes"]].sum(min_count=1).reset_index(drop=True)
    rows = rates.reset_index(drop=True)
    paths = [
        path_of_group(trace, group, int(size))
        for group, size in zip(rows["group"], rows["group_size"], strict=True)
    ]
    busy = rows["busy_ns"].to_numpy(np.float64)
    near = sums["near_ns"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        carried = sums["carried_bytes"].to_numpy(np.float64) / busy * 1e9
        share = near / busy
    columns = {
        "path": [path.kind for path in paths],
        "technology": [path.technology for path in paths],
        "device": [path.device for path in paths],
        "peak_bytes_per_s": [path.peak_bytes_per_s for path in paths],
        "peak_source": [path.source for path in paths],
        "peak_why": [path.why for path in paths],
        "peak_at_most": [path.at_most for path in paths],
        "reduced": [
            path.reduces and kind in REDUCED for path, kind in zip(paths, rows["kind"], strict=True)
        ],
        "near_ns": near,
        "near_share": share,
        "carried_bytes_per_s": np.where(rows["bus_bytes_per_s"].notna(), carried, np.nan),
    }
    return rows.assign(**columns)[list(COLUMNS)]


def near_peak(trace: Trace) -> pd.DataFrame:
    """Return `each_collective` with carried_bytes (NaN unknown), path and near_ns.

    The latter is its time if it is near the peak, else 0; NaN unknown.
    """
    each = trace.fact(each_collective)
    if not len(each):
        return each.assign(carried_bytes=[], path=[], near_ns=[])
    keys = ["group", "group_size"]
    groups = each.groupby(keys, dropna=False, observed=True, sort=False).ngroup().to_numpy()
    first_rows = each[keys].iloc[np.unique(groups, return_index=True)[1]]
    paths = [
        path_of_group(trace, group, int(size))
        for group, size in first_rows.itertuples(index=False, name=None)
    ]
    reduces = np.array([path.reduces for path in paths], bool)[groups]
    reduced = reduces & each["kind"].isin(REDUCED).to_numpy()
    crossed = each["crossed_bytes"].to_numpy(np.float64)
    size = np.where(each["size_bytes"] >= 0, each["size_bytes"], np.nan)
    carried = np.where(reduced, np.fmin(crossed, size), crossed)
    peak = np.array([path.peak_bytes_per_s for path in paths])[groups]
    busy = each["busy_ns"].to_numpy(np.float64)
    reached = carried * 1e9 >= LIMITS.near_bus_peak * peak * busy
    near = np.where(np.isnan(carried) | np.isnan(peak), np.nan, np.where(reached, busy, 0.0))
    kinds = np.array([path.kind for path in paths], object)[groups]
    return each.assign(carried_bytes=carried, path=kinds, near_ns=near)


def path_of_group(trace: Trace, group: object, size: int) -> GroupPath:
    """Return the path of a group; unknown where the group has no name."""
    return group_path(trace, group if isinstance(group, str) else "", size)
