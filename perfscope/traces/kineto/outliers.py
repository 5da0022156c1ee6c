"""Events at impossible instants: a time of 10^9 s among those of a second would stretch the recording over decades."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import Group

# The profiler records without pause; nobody records for an hour in which nothing at all begins.
LONGEST_SILENCE_NS: Final = 3_600_000_000_000
# So few events beyond such a silence are damaged ones and not a part of the recording.
FEW_SHARE: Final = 0.01
FAR_AWAY: Final = "lie more than an hour from all others"


def within_reach(rows: dict[str, Group]) -> tuple[dict[str, Group], int]:
    """The groups without events that lie alone, and how many those are."""
    times = [group.numbers("ts") for group in rows.values() if len(group)]
    if not times or max(int(ts.max()) for ts in times) - min(int(ts.min()) for ts in times) < LONGEST_SILENCE_NS:
        return rows, 0
    ts = np.sort(np.concatenate(times))
    begins = np.concatenate(([0], np.flatnonzero(np.diff(ts) > LONGEST_SILENCE_NS) + 1))
    counts = np.diff(np.append(begins, len(ts)))
    few = (counts < FEW_SHARE * len(ts)) & (counts < counts.max())
    if not few.any():
        return rows, 0
    return {name: group.where(~alone(group.numbers("ts"), ts[begins], few)) for name, group in rows.items()}, int(
        counts[few].sum()
    )


def alone(ts: Ints, begins: Ints, few: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which instants belong to one of the few."""
    found: NDArray[np.bool_] = few[np.searchsorted(begins, ts, side="right") - 1]
    return found
