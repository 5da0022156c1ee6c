"""Launches whose kernels are not in the recording: what the device did then is unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import EMPTY, Ints, Spans, merged

LAUNCHING: Final = ("kernel", "graph")
FEWEST_LOST: Final = 10
"""Launches in a row. A few may start nothing, or something that is not a kernel."""
LOST_SHARE: Final = 0.01
GRAPH_WEIGHT: Final = 5
"""A graph has many kernels."""


@dataclass(frozen=True)
class LostLaunches:
    """The launches of one process in order of time, and which of them lost their kernels."""

    row: Ints
    ts: Ints
    is_lost: NDArray[np.bool_]

    def runs(self) -> list[tuple[int, int]]:
        """Return (first, last) of each run of launches that lost their kernels."""
        change = np.flatnonzero(np.diff(self.is_lost.astype(np.int8), prepend=0, append=0))
        return [(int(first), int(end) - 1) for first, end in change.reshape(-1, 2)]


def lost_launches(tables: Mapping[str, pd.DataFrame]) -> Ints:
    """Return the rows of the launches that lost their kernels."""
    lost = [found.row[found.is_lost] for found in launches_by_process(tables).values()]
    return np.concatenate(lost) if lost else EMPTY[0]


def launches_by_process(tables: Mapping[str, pd.DataFrame]) -> dict[int, LostLaunches]:
    """Return the launches of each process that lost some kernels."""
    launches = tables.get("launches")
    if launches is None:
        return {}
    kind = launches["kind"]
    is_launch = kind.isin(list(LAUNCHING)).to_numpy(bool)
    has_work = rows_with_work(tables, len(launches))
    is_lost = is_launch & ~has_work & (launches["correlation"].to_numpy(np.int64) > 0)
    if np.count_nonzero(is_lost) * GRAPH_WEIGHT < FEWEST_LOST:
        return {}
    weight = np.where((kind == "graph").to_numpy(bool), GRAPH_WEIGHT, 1)
    process, ts = (launches[name].to_numpy(np.int64) for name in ("process", "ts"))
    found = {}
    for code in np.unique(process[is_lost]):
        rows = np.flatnonzero(is_launch & (process == code))
        rows = rows[np.argsort(ts[rows], kind="stable")]
        lost_rows = is_lost[rows] & ~is_pending(tables, int(code), ts[rows], has_work[rows])
        in_runs = only_long_runs(LostLaunches(rows, ts[rows], lost_rows), weight)
        if in_runs.is_lost.any():
            found[int(code)] = in_runs
    return found


def is_pending(
    tables: Mapping[str, pd.DataFrame], process: int, ts: Ints, has_work: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which launches of a process, in order of time, may have waited for a busy device until
    the recording ended: the last ones, made before the last recorded work ended.
    """
    known = np.flatnonzero(has_work)
    if not len(known):
        return np.zeros(len(ts), bool)
    last_end_ns = 0
    for name in ("kernels", "copies"):
        if name in tables:
            work = tables[name]
            of_process = (work["process"] == process).to_numpy(bool)
            end_ns = (work["ts"] + work["dur"]).to_numpy(np.int64)
            last_end_ns = max(last_end_ns, int(end_ns.max(initial=0, where=of_process)))
    pending: NDArray[np.bool_] = (np.arange(len(ts)) > known[-1]) & (ts < last_end_ns)
    return pending


def rows_with_work(tables: Mapping[str, pd.DataFrame], count: int) -> NDArray[np.bool_]:
    """Return for each row of `launches` whether it started recorded work of a device."""
    has_work = np.zeros(count + 1, bool)
    for name in ("kernels", "copies"):
        if name in tables:
            has_work[tables[name]["launch"].to_numpy(np.int64)] = True
    return has_work[:count]


def only_long_runs(launches: LostLaunches, weight: Ints) -> LostLaunches:
    """Return the launches with those lost that are too many in a row to be chance."""
    is_lost = launches.is_lost.copy()
    weights = weight[launches.row]
    least = max(FEWEST_LOST, LOST_SHARE * float(weights.sum()))
    for first, last in launches.runs():
        if int(weights[first : last + 1].sum()) < least:
            is_lost[first : last + 1] = False
    return LostLaunches(launches.row, launches.ts, is_lost)


def unknown_device_time(kernels: pd.DataFrame | None, launches: LostLaunches, end_ns: int) -> Spans:
    """Return when the devices of a process with these launches did what is unknown.

    It is from the first lost launch, or the end of all work launched before it, to the start of the
    first work that was launched later: a stream works in order.
    """
    begin, end = work_by_launch(kernels, launches)
    ended_before = np.maximum.accumulate(end)
    begins_after = np.minimum.accumulate(begin[::-1])[::-1]
    starts, ends = [], []
    for first, last in launches.runs():
        earlier_ns = int(ended_before[first - 1]) if first else 0
        starts.append(max(int(launches.ts[first]), earlier_ns))
        ends.append(min(int(begins_after[last]), end_ns))
    return merged((np.array(starts, np.int64), np.array(ends, np.int64)))


def work_by_launch(kernels: pd.DataFrame | None, launches: LostLaunches) -> tuple[Ints, Ints]:
    """Return the begin and end of the kernels of each launch: of those without any the latest
    instant and 0.
    """
    latest = np.iinfo(np.int64).max
    size = int(launches.row.max()) + 1
    begin, end = np.full(size, latest, np.int64), np.zeros(size, np.int64)
    if kernels is not None:
        row, ts, dur = (kernels[name].to_numpy(np.int64) for name in ("launch", "ts", "dur"))
        known = (row >= 0) & (row < size)
        np.minimum.at(begin, row[known], ts[known])
        np.maximum.at(end, row[known], (ts + dur)[known])
    return begin[launches.row], end[launches.row]
