"""Finds events at impossible instants. One event at 10^9 s in a recording of a second would stretch
it over decades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.time_slice import with_new_row_numbers

LONGEST_SILENCE_NS: Final = 3_600_000_000_000
"""A profiler records without pause, and no recording has an hour in which nothing begins."""
FEW_SHARE: Final = 0.01
"""Events on the other side of such a silence are damaged when they are fewer than this share."""
OUTLIER_REASON: Final = "are more than an hour away from all others"


@dataclass(frozen=True)
class Outliers:
    """The stretches of a recording between long silences, and which of them are outliers."""

    begins: Ints
    """The first instant of each stretch."""
    is_outlier: NDArray[np.bool_]
    """For each stretch, whether it holds only a few events."""
    count: int
    """How many events are outliers."""

    def contain(self, ts: Ints) -> NDArray[np.bool_]:
        """Return which instants are in a stretch of outliers."""
        stretch = np.searchsorted(self.begins, ts, side="right") - 1
        contained: NDArray[np.bool_] = self.is_outlier[stretch]
        return contained


def find_outliers(times: Sequence[Ints]) -> Outliers | None:
    """Return the outliers among events that begin at these times, None without any."""
    non_empty = [ts for ts in times if len(ts)]
    if not non_empty:
        return None
    first = min(int(ts.min()) for ts in non_empty)
    last = max(int(ts.max()) for ts in non_empty)
    if last - first < LONGEST_SILENCE_NS:
        return None
    ts = np.sort(np.concatenate(non_empty))
    begins = np.concatenate(([0], np.flatnonzero(np.diff(ts) > LONGEST_SILENCE_NS) + 1))
    counts = np.diff(np.append(begins, len(ts)))
    is_outlier = (counts < FEW_SHARE * len(ts)) & (counts < counts.max())
    if not is_outlier.any():
        return None
    return Outliers(ts[begins], is_outlier, int(counts[is_outlier].sum()))


def tables_without_outliers(
    tables: dict[str, pd.DataFrame],
) -> tuple[dict[str, pd.DataFrame], int]:
    """Return the tables without outliers, and how many events were removed."""
    times = {
        name: table["ts"].to_numpy(np.int64) for name, table in tables.items() if "ts" in table
    }
    # Each collective is also a kernel, and would count twice.
    outliers = find_outliers([ts for name, ts in times.items() if name != "collectives"])
    if outliers is None:
        return tables, 0
    kept_rows = {}
    for name, table in tables.items():
        kept = ~outliers.contain(times[name]) if name in times else np.ones(len(table), bool)
        kept_rows[name] = np.flatnonzero(kept)
    cleaned = {
        name: with_new_row_numbers(name, table.iloc[kept_rows[name]], tables, kept_rows)
        for name, table in tables.items()
    }
    return {name: table for name, table in cleaned.items() if len(table)}, outliers.count
