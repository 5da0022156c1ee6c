"""The clocks of a job's parts brought together by the collectives they share: ranks leave a
collective at one instant.

Nothing else ties clocks of different hosts closer than milliseconds. What cannot be seen is a rank
that leaves every collective later than the others by the same amount: that would be taken for its
clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.clock_shift import Shift, fitted, residual_ns
from perfscope.traces.intervals import Ints
from perfscope.traces.matching import matched
from perfscope.traces.trace import Trace

# Evenly spread over the recording these say as much as all.
MOST_COMMON = 20_000
ROUNDS = 2


@dataclass(frozen=True)
class Alignment:
    """What brings a part's times onto those of its set's first part; `set` and `residual_ns` -1
    where it shares nothing.
    """

    shift: Shift
    residual_ns: int
    common: int
    set: int


def aligned(parts: Sequence[Trace]) -> list[Alignment]:
    """One for each part.

    Parts that share collectives, directly or through others, form a set; a set is aligned to its
    first part.
    """
    ends = common_ends(parts)
    found = [Alignment(Shift.constant(0), -1, 0, -1) for _ in parts]
    present = ~np.isnan(ends)
    shared = present.T.astype(np.int64) @ present.astype(np.int64)
    np.fill_diagonal(shared, 0)
    sets = 0
    for first in range(len(parts)):
        if found[first].set < 0 and shared[first].any():
            for part, alignment in one_set(ends, shared, first, sets).items():
                found[part] = alignment
            sets += 1
    return found


def one_set(
    ends: NDArray[np.float64], shared: Ints, first: int, number: int
) -> dict[int, Alignment]:
    """The parts that hang together with `first`: each tied to the one it shares most with, then to
    the middle of all.
    """
    shifts = {first: Shift.constant(0)}
    while True:
        tie = max(
            (
                (int(shared[a, b]), -b, -a)
                for a in shifts
                for b in range(len(shared))
                if b not in shifts
            ),
            default=(0, 0, 0),
        )
        if tie[0] == 0:
            break
        new, known = -tie[1], -tie[2]
        shifts[new] = onto(ends[:, new], moved(ends[:, known], shifts[known]))
    for _ in range(ROUNDS):
        for part in list(shifts)[1:]:
            shifts[part] = onto(ends[:, part], middle_of_others(ends, shifts, part))
    return {
        part: Alignment(
            shift, left_ns(ends, shifts, part), int((~np.isnan(ends[:, part])).sum()), number
        )
        for part, shift in shifts.items()
    }


def onto(own: NDArray[np.float64], other: NDArray[np.float64]) -> Shift:
    """The shift from one part's ends to the others', of the collectives that both have."""
    both = ~np.isnan(own) & ~np.isnan(other)
    ts = own[both].astype(np.int64)
    return fitted(ts, other[both].astype(np.int64) - ts)


def moved(ends: NDArray[np.float64], shift: Shift) -> NDArray[np.float64]:
    """The ends of one part after its shift, NaN where it has none."""
    after = np.full(len(ends), np.nan)
    there = ~np.isnan(ends)
    after[there] = shift.moved(ends[there].astype(np.int64))
    return after


def middle_of_others(
    ends: NDArray[np.float64], shifts: dict[int, Shift], part: int
) -> NDArray[np.float64]:
    """When the other parts of the set left each collective: their median; NaN where none of them
    has it.
    """
    others = np.stack([moved(ends[:, one], shift) for one, shift in shifts.items() if one != part])
    middle = np.full(ends.shape[0], np.nan)
    some = ~np.isnan(others).all(axis=0)
    middle[some] = np.nanmedian(others[:, some], axis=0)
    return middle


def left_ns(ends: NDArray[np.float64], shifts: dict[int, Shift], part: int) -> int:
    """What nine of ten ends of this part differ at most from the others'."""
    own, other = moved(ends[:, part], shifts[part]), middle_of_others(ends, shifts, part)
    both = ~np.isnan(own) & ~np.isnan(other)
    difference = (other - own)[both].astype(np.int64)
    return residual_ns(Shift.constant(0), np.zeros(len(difference), np.int64), difference)


def common_ends(parts: Sequence[Trace]) -> NDArray[np.float64]:
    """A row for each collective that several parts share, a column a part: its end there, in its
    own time; NaN without.
    """
    frames, names = [], []
    for number, part in enumerate(parts):
        own, kernels = part.table("collectives"), part.table("kernels")
        if own is None or kernels is None:
            continue
        names.append(kernels["name"].iloc[own["kernel"]].astype(object))
        frames.append(own.assign(process=number))
    if len(frames) < 2:
        return np.empty((0, len(parts)))
    rows = pd.concat(
        [frame.astype({"kind": object, "group": object}) for frame in frames], ignore_index=True
    )
    rows["kernel"] = np.arange(len(rows))
    match = matched(rows, pd.DataFrame({"name": pd.concat(names, ignore_index=True).to_numpy()}))
    rows = rows.assign(match=match, end=rows["ts"] + rows["dur"])[match >= 0]
    # Several devices of one part in one collective share a clock: any of them tells it.
    ends = rows.groupby(["match", "process"])["end"].min().unstack("process")
    ends = ends.reindex(columns=range(len(parts)))[ends.count(axis=1) >= 2].sort_index()
    return ends.to_numpy(np.float64)[:: -(-len(ends) // MOST_COMMON) or 1]
