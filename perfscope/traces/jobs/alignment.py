"""Aligns the clocks of a job's parts by the collectives they share, which all ranks leave at the
same instant.

Nothing else relates the clocks of different hosts more closely than milliseconds. One error cannot
be detected: a rank that leaves every collective later than the others by the same amount, which is
taken for an offset of its clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.clock_offset import Shift, fit_shift, residual_ns
from perfscope.traces.collectives.collective_matching import match_collectives
from perfscope.traces.intervals import Ints
from perfscope.traces.jobs.merge import merged_names, names_of
from perfscope.traces.trace import Trace

MOST_COMMON: Final = 20_000
"""Collectives that are used. Spread evenly over the recording, more say nothing new."""
REFINEMENTS: Final = 2
NUMBERS: Final = ("device", "stream", "ts", "dur", "in_bytes", "group_size")

Ends = NDArray[np.float64]
"""The end of each common collective, in the time of one part; NaN where the part lacks it."""


@dataclass(frozen=True)
class Alignment:
    """How the times of a part become those of the first part of its set.

    `set` and `residual_ns` are -1 for a part that shares no collective with any other.
    """

    shift: Shift
    residual_ns: int
    common: int
    """How many collectives it shares with other parts."""
    set: int


def align_parts(parts: Sequence[Trace]) -> list[Alignment]:
    """Return the alignment of each part.

    Parts that share collectives, directly or through others, form a set. A set is aligned to its
    first part.
    """
    ends = common_ends(parts)
    alignments = [Alignment(Shift.constant(0), -1, 0, -1) for _ in parts]
    has_end = ~np.isnan(ends)
    shared = has_end.T.astype(np.int64) @ has_end.astype(np.int64)
    np.fill_diagonal(shared, 0)
    set_count = 0
    for first in range(len(parts)):
        if alignments[first].set < 0 and shared[first].any():
            for part, alignment in align_set(ends, shared, first, set_count).items():
                alignments[part] = alignment
            set_count += 1
    return alignments


def align_set(ends: Ends, shared: Ints, first: int, set_number: int) -> dict[int, Alignment]:
    """Return the alignments of the parts that share collectives with `first`, directly or through
    others.

    Each part is aligned to the part with which it shares most, and then to the median of all.
    `shared` holds the number of common collectives of each pair of parts.
    """
    shifts = {first: Shift.constant(0)}
    aligned_ends = np.full_like(ends, np.nan)
    aligned_ends[:, first] = ends[:, first]
    for known, new in strongest_ties(shared, first):
        shifts[new] = shift_onto(ends[:, new], aligned_ends[:, known])
        aligned_ends[:, new] = shifted_ends(ends[:, new], shifts[new])
    for _ in range(REFINEMENTS):
        for part in list(shifts)[1:]:
            shifts[part] = shift_onto(ends[:, part], median_of_others(aligned_ends, part))
            aligned_ends[:, part] = shifted_ends(ends[:, part], shifts[part])
    alignments = {}
    for part, shift in shifts.items():
        common = int((~np.isnan(ends[:, part])).sum())
        alignments[part] = Alignment(shift, remaining_ns(aligned_ends, part), common, set_number)
    return alignments


def strongest_ties(shared: Ints, first: int) -> Iterator[tuple[int, int]]:
    """Yield (aligned part, other part) until no part is left that shares collectives with an
    aligned one; always the pair that shares most, of equal ones that with the lowest numbers.
    """
    most, tied_to = shared[first].copy(), np.full(len(shared), first)
    most[first] = -1  # aligned
    while most[new := int(np.argmax(most))] > 0:
        yield int(tied_to[new]), new
        is_open = most >= 0
        is_open[new] = False
        is_closer = shared[new] > most
        is_closer |= (shared[new] == most) & (new < tied_to)
        tied_to[is_open & is_closer] = new
        most[is_open] = np.maximum(most, shared[new])[is_open]
        most[new] = -1


def shift_onto(ends: Ends, reference: Ends) -> Shift:
    """Return the shift from one part's ends to the reference, by the collectives that both have."""
    both = ~np.isnan(ends) & ~np.isnan(reference)
    ts = ends[both].astype(np.int64)
    return fit_shift(ts, reference[both].astype(np.int64) - ts)


def shifted_ends(ends: Ends, shift: Shift) -> Ends:
    """Return the ends of one part after its shift."""
    shifted = np.full(len(ends), np.nan)
    known = ~np.isnan(ends)
    shifted[known] = shift.moved(ends[known].astype(np.int64))
    return shifted


def median_of_others(aligned_ends: Ends, part: int) -> Ends:
    """Return the median end of each collective on the other parts of the set.

    NumPy's `nanmedian` takes a hundred times as long for as many rows and columns as a large job
    has.
    """
    in_order = np.sort(np.delete(aligned_ends, part, axis=1), axis=1)  # NaN last
    count = np.count_nonzero(~np.isnan(in_order), axis=1)
    row = np.arange(len(in_order))
    lower, upper = np.maximum(count - 1, 0) // 2, count // 2
    median: Ends = (in_order[row, lower] + in_order[row, upper]) / 2
    return median


def remaining_ns(aligned_ends: Ends, part: int) -> int:
    """Return the difference from the other parts' ends that 90 % of this part's ends keep below."""
    shifted = aligned_ends[:, part]
    reference = median_of_others(aligned_ends, part)
    both = ~np.isnan(shifted) & ~np.isnan(reference)
    difference = (reference - shifted)[both].astype(np.int64)
    return residual_ns(Shift.constant(0), np.zeros(len(difference), np.int64), difference)


def common_ends(parts: Sequence[Trace]) -> Ends:
    """Return a row per collective that several parts share, with its end in each part's own time.

    One column per part; NaN where the part does not have the collective.
    """
    found = [
        (number, collectives, names_of(kernels["name"])[collectives["kernel"].to_numpy()])
        for number, part in enumerate(parts)
        if (collectives := part.table("collectives")) is not None
        if (kernels := part.table("kernels")) is not None
    ]
    if len(found) < 2:
        return np.empty((0, len(parts)))
    frames = [collectives for _, collectives, _ in found]
    rows = pd.DataFrame(
        {
            "process": np.repeat([number for number, *_ in found], [len(of) for of in frames]),
            "kernel": np.arange(sum(map(len, frames))),
            **{name: np.concatenate([of[name].to_numpy() for of in frames]) for name in NUMBERS},
            **{
                name: merged_names([names_of(of[name]) for of in frames]).astype(object)
                for name in ("kind", "group")
            },
        }
    )
    names = merged_names([names for *_, names in found]).astype(object)
    match = match_collectives(rows, pd.DataFrame({"name": names}))
    rows = rows.assign(match=match, end=rows["ts"] + rows["dur"])[match >= 0]
    # Several devices of one part in one collective share a clock, so any of them will do.
    ends = rows.groupby(["match", "process"])["end"].min().unstack("process")
    ends = ends.reindex(columns=range(len(parts)))
    ends = ends[ends.count(axis=1) >= 2].sort_index()
    step = max(-(-len(ends) // MOST_COMMON), 1)  # rounded up
    return ends.to_numpy(np.float64)[::step]
