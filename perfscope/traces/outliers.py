"""Events at impossible instants: a time of 10^9 s among those of a second would stretch the
recording over decades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.part import renumbered

# A profiler records without pause; nobody records for an hour in which nothing at all begins.
LONGEST_SILENCE_NS: Final = 3_600_000_000_000
# So few events beyond such a silence are damaged ones and not a part of the recording.
FEW_SHARE: Final = 0.01
FAR_AWAY: Final = "lie more than an hour from all others"


@dataclass(frozen=True)
class Lonely:
    """Stretches of a recording between long silences: their first instants (ns), and which of them
    hold only a few events.
    """

    begins: Ints
    few: NDArray[np.bool_]
    count: int

    def holds(self, ts: Ints) -> NDArray[np.bool_]:
        """Which instants belong to one of the few."""
        found: NDArray[np.bool_] = self.few[np.searchsorted(self.begins, ts, side="right") - 1]
        return found


def lonely(times: Sequence[Ints]) -> Lonely | None:
    """The events that lie alone, of all that begin at `times`; None where none does."""
    some = [ts for ts in times if len(ts)]
    if (
        not some
        or max(int(ts.max()) for ts in some) - min(int(ts.min()) for ts in some)
        < LONGEST_SILENCE_NS
    ):
        return None
    ts = np.sort(np.concatenate(some))
    begins = np.concatenate(([0], np.flatnonzero(np.diff(ts) > LONGEST_SILENCE_NS) + 1))
    counts = np.diff(np.append(begins, len(ts)))
    few = (counts < FEW_SHARE * len(ts)) & (counts < counts.max())
    return Lonely(ts[begins], few, int(counts[few].sum())) if few.any() else None


def tables_within_reach(tables: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], int]:
    """The tables without events that lie alone, and how many those are."""
    timed = {
        name: frame["ts"].to_numpy(np.int64) for name, frame in tables.items() if "ts" in frame
    }
    # A collective is a kernel once more.
    found = lonely([ts for name, ts in timed.items() if name != "collectives"])
    if found is None:
        return tables, 0
    kept = {
        name: np.flatnonzero(~found.holds(timed[name])) if name in timed else np.arange(len(frame))
        for name, frame in tables.items()
    }
    left = {
        name: renumbered(name, frame.iloc[kept[name]], tables, kept)
        for name, frame in tables.items()
    }
    return {name: frame for name, frame in left.items() if len(frame)}, found.count
