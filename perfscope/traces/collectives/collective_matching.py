"""Matches the collectives of different ranks: those at the same place in the sequence of a process
group are one collective.

It needs no common clock. Ranks call the collectives of a group in the same order. So the n-th of
one rank is the n-th of the other, or the (n + k)-th where one recording began k collectives
earlier. Kinds and sizes must agree throughout. And once the clocks are aligned the two must
overlap: no rank leaves before the last has entered. Where ends still differ after that, records may
be missing, and the collectives are paired by the times at which ranks leave (`pairing_by_time`).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd

from perfscope.traces.clock_offset import Shift, fit_shift, residual_ns
from perfscope.traces.collectives.pairing_by_time import Ends, PlacePairs, pair_by_time
from perfscope.traces.intervals import Ints

POINT_TO_POINT: Final = ("send", "recv")
ROOTED: Final = ("broadcast", "reduce", "gather", "scatter")
"""Kinds in which one rank gives or receives, so that it may leave before the last has entered."""
EVEN: Final = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
"""Kinds whose size is the same on every rank (all_to_all and gather may be uneven)."""
SLACK_NS: Final = 50_000
"""Ranks leave a collective within microseconds of each other, and the clock of a device is aligned
with that of its host to a few microseconds.
"""
OVERLAPPING: Final = 0.9
"""Share of the collectives that must overlap. Of wrong pairs about as many overlap as the share of
time spent in collectives; of right pairs all do.
"""
SHIFT_GAIN: Final = 0.5
"""A shift must leave less than this share of the spread without one: most recordings begin
together.
"""
MOST_SHIFT: Final = 512
FEWEST_COMMON: Final = 4
FEWEST_KEPT: Final = 0.75
"""Recordings that lack more than a quarter of a sequence are not taken for the same sequence."""
MOST_LAGS: Final = 257
"""Places that are tried where records may be missing. Losing more at once loses whole steps."""
LARGEST_DEVICE: Final = 4094


@dataclass(frozen=True)
class Sequence:
    """The collectives of one rank in one process group, in the order of time."""

    unit: int
    """The process and device; see `unit_numbers`."""
    named: bool
    """Whether the recording contains the name of the group."""
    rows: Ints
    signature: Ints
    """Equal for collectives of the same kind and size."""
    together: Ints
    """1 where no rank can leave before the last has entered."""
    ts: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.rows)


def match_collectives(collectives: pd.DataFrame, kernels: pd.DataFrame | None) -> Ints:
    """Return for each row of `collectives` the number of its match, -1 for none. Rows with the same
    number are one collective.

    A match has rows of at least two ranks, or two devices of one process. Sends and receives are
    not matched, and neither are groups with more ranks than their size: several groups then share
    the name.
    """
    match = np.full(len(collectives), -1, np.int64)
    units = unit_numbers(collectives)
    if len(collectives) == 0 or len(np.unique(units)) < 2:
        return match
    count = 0
    for sequences in sequences_by_group(collectives, kernels, units):
        longest, *others = sorted(sequences, key=lambda sequence: (-len(sequence), sequence.unit))
        match_of_place = np.full(len(longest), -1, np.int64)
        for other in others:
            pairs = pair_sequences(longest, other)
            if pairs is None:
                continue
            places, other_places = pairs
            is_new = match_of_place[places] < 0
            new_numbers = count + np.cumsum(is_new) - 1
            match_of_place[places] = np.where(is_new, new_numbers, match_of_place[places])
            count += int(is_new.sum())
            match[other.rows[other_places]] = match_of_place[places]
        match[longest.rows] = match_of_place
    return match


def unit_numbers(collectives: pd.DataFrame) -> Ints:
    """Return for each row a number of its process and device, which take part in a collective."""
    process = collectives["process"].to_numpy(np.int64)
    device = np.clip(collectives["device"].to_numpy(np.int64), -1, LARGEST_DEVICE)
    unit: Ints = process * (LARGEST_DEVICE + 2) + device
    return unit


def sequences_by_group(
    collectives: pd.DataFrame, kernels: pd.DataFrame | None, units: Ints
) -> list[list[Sequence]]:
    """Return the sequences of each group that has at least two units."""
    kind = pd.Categorical(collectives["kind"])
    is_named = collectives["group"].notna().to_numpy()
    lane, kernel_name = stream_lanes(collectives, kernels, units)
    group_code = np.asarray(pd.Categorical(collectives["group"]).codes, np.int64)
    size = np.where(np.isin(kind, EVEN), collectives["in_bytes"].to_numpy(np.int64), -1)
    kind_and_size = pd.factorize(size)[0] * 64 + kind.codes
    ts = collectives["ts"].to_numpy(np.int64)
    frame = pd.DataFrame(
        {
            "unit": units,
            "ts": ts,
            "end": ts + collectives["dur"].to_numpy(np.int64),
            "size": collectives["group_size"].to_numpy(np.int64),
            "together": (~np.isin(kind, ROOTED)).astype(np.int64),
            "group": np.where(is_named, group_code, -2 - lane),
            "signature": np.where(is_named, kind_and_size, kernel_name),
        }
    )
    is_used = ~np.isin(kind, POINT_TO_POINT) & (is_named | (lane >= 0))
    frame = frame[is_used].sort_values("ts", kind="stable")
    groups = []
    for code, rows in frame.groupby("group", sort=True):
        unit_count, group_size = rows["unit"].nunique(), int(rows["size"].max())
        is_ambiguous = 0 < group_size < unit_count
        if unit_count >= 2 and not is_ambiguous:
            has_name = int(str(code)) >= 0
            by_unit = rows.groupby("unit", sort=True)
            groups.append([sequence_of_rows(unit_rows, has_name) for _, unit_rows in by_unit])
    return groups


def sequence_of_rows(rows: pd.DataFrame, named: bool) -> Sequence:
    """Return the sequence of the rows of one unit."""
    signature, together, ts, end = (
        rows[name].to_numpy(np.int64) for name in ("signature", "together", "ts", "end")
    )
    unit = int(rows["unit"].iloc[0])
    return Sequence(unit, named, rows.index.to_numpy(np.int64), signature, together, ts, end)


def stream_lanes(
    collectives: pd.DataFrame, kernels: pd.DataFrame | None, units: Ints
) -> tuple[Ints, Ints]:
    """Return, for rows without a group name, (the number of the stream among those of its unit, the
    code of the kernel's name).

    A stream stands for a group only where all units have nearly the same number of collectives on
    it; for others the first number is -1. Nothing else shows that the streams belong together.
    """
    lane = np.full(len(collectives), -1, np.int64)
    kernel_name = np.zeros(len(collectives), np.int64)
    unnamed = np.flatnonzero(collectives["group"].isna().to_numpy())
    if not len(unnamed) or kernels is None:
        return lane, kernel_name
    kernel_rows = collectives["kernel"].to_numpy(np.int64)[unnamed]
    kernel_name[unnamed] = pd.Categorical(kernels["name"]).codes[kernel_rows]
    streams = pd.DataFrame(
        {"unit": units[unnamed], "stream": collectives["stream"].to_numpy(np.int64)[unnamed]}
    )
    rank_of_stream = streams.groupby("unit")["stream"].rank(method="dense")
    number = rank_of_stream.to_numpy(np.int64) - 1
    counts = pd.crosstab(number, streams["unit"].to_numpy())
    is_similar = counts.min(axis=1) >= FEWEST_KEPT * counts.max(axis=1)
    similar = counts.index[is_similar].to_numpy(np.int64)
    lane[unnamed] = np.where(np.isin(number, similar), number, -1)
    return lane, kernel_name


def pair_sequences(first: Sequence, other: Sequence) -> PlacePairs | None:
    """Return the places of two sequences that are one collective, None where they do not fit.

    They are paired by order, unless pairing by time lets more of them end together.
    """
    lengths = len(first), len(other)
    begin = common_begin(first, other)
    in_order = None if begin is None else pairs_in_order(lengths, begin)
    fit_in_order = 0 if in_order is None else ending_together(first, other, in_order)
    if in_order is not None and fit_in_order == len(in_order[0]):
        return in_order
    by_time = pair_by_time(
        Ends(first.signature, first.end),
        Ends(other.signature, other.end),
        list(likely_begins(lengths)[:MOST_LAGS]),
        SLACK_NS,
    )
    is_long_enough = len(by_time[0]) >= fewest_common(lengths)
    if is_long_enough and ending_together(first, other, by_time) > fit_in_order:
        return by_time
    # For groups without a name, only equal ends show that sequences of different lengths match.
    is_uncertain = not first.named and lengths[0] != lengths[1]
    if in_order is None or (is_uncertain and fit_in_order < OVERLAPPING * len(in_order[0])):
        return None
    return in_order


def pairs_in_order(lengths: tuple[int, int], begin: int) -> PlacePairs:
    """Return the pairs of two sequences in order, the other beginning at a place of the first."""
    first, other = common_slices(*lengths, begin)
    return (
        np.arange(first.start, first.stop, dtype=np.int64),
        np.arange(other.start, other.stop, dtype=np.int64),
    )


def ending_together(first: Sequence, other: Sequence, pairs: PlacePairs) -> int:
    """Return how many of the pairs end together after aligning the clocks."""
    ts = other.end[pairs[1]]
    difference = first.end[pairs[0]] - ts
    remaining = np.abs(difference - fit_shift(ts, difference).offset_ns(ts))
    return int((remaining <= SLACK_NS).sum())


def fewest_common(lengths: tuple[int, int]) -> int:
    """Return how many collectives two sequences must have in common."""
    return max(min(FEWEST_COMMON, *lengths), int(FEWEST_KEPT * min(lengths)))


@lru_cache(maxsize=1024)
def likely_begins(lengths: tuple[int, int]) -> tuple[int, ...]:
    """Return the places of the first sequence at which the other may begin, the likeliest first:
    both start together, or both end together, or nearly so.
    """
    lead = lengths[0] - lengths[1]
    places = range(-MOST_SHIFT, lead + MOST_SHIFT + 1)
    by_likelihood = sorted(places, key=lambda place: min(abs(place), abs(place - lead)))
    return tuple(by_likelihood[: 2 * MOST_SHIFT + 1])


@lru_cache(maxsize=1024)
def long_enough_begins(lengths: tuple[int, int]) -> tuple[int, ...]:
    """Return the likely places at which two sequences have enough in common."""
    fewest = fewest_common(lengths)
    overlaps = {begin: common_slices(*lengths, begin)[0] for begin in likely_begins(lengths)}
    return tuple(begin for begin, both in overlaps.items() if both.stop - both.start >= fewest)


def common_slices(first_length: int, other_length: int, begin: int) -> tuple[slice, slice]:
    """Return where two sequences overlap when the other begins at place `begin` of the first."""
    low, high = max(begin, 0), min(first_length, other_length + begin)
    return slice(low, high), slice(low - begin, high - begin)


def common_begin(first: Sequence, other: Sequence) -> int | None:
    """Return the place in `first` at which `other` begins, None where they do not fit.

    Of all places where the signatures agree, it is the one where the ends differ most evenly: ranks
    leave a collective together.
    """
    best: tuple[float, int] | None = None
    for begin in agreeing_begins(first, other):
        shift, spread_ns = fit_clocks(first, other, begin)
        if not overlap_in_time(first, other, begin, shift):
            continue
        # The first place is the likeliest, so another one has to be clearly better.
        if best is None or spread_ns < SHIFT_GAIN * best[0]:
            best = (spread_ns, begin)
    return None if best is None else best[1]


def agreeing_begins(first: Sequence, other: Sequence) -> list[int]:
    """Return the places at which all signatures agree, the likeliest first."""
    lengths = len(first), len(other)
    agreeing = []
    for begin in long_enough_begins(lengths):
        in_first, in_other = common_slices(*lengths, begin)
        if np.array_equal(first.signature[in_first], other.signature[in_other]):
            agreeing.append(begin)
    return agreeing


def fit_clocks(first: Sequence, other: Sequence, begin: int) -> tuple[Shift, float]:
    """Return the shift from the other's clock to the first's, and the remaining difference in
    nanoseconds.
    """
    in_first, in_other = common_slices(len(first), len(other), begin)
    difference = first.end[in_first] - other.end[in_other]
    shift = fit_shift(other.end[in_other], difference)
    return shift, float(residual_ns(shift, other.end[in_other], difference))


def overlap_in_time(first: Sequence, other: Sequence, begin: int, shift: Shift) -> bool:
    """Return whether the paired collectives overlap in time after aligning the clocks."""
    in_first, in_other = common_slices(len(first), len(other), begin)
    starts = np.maximum(first.ts[in_first], shift.moved(other.ts[in_other]))
    ends = np.minimum(first.end[in_first], shift.moved(other.end[in_other]))
    must_overlap = (first.together[in_first] & other.together[in_other]) == 1
    overlaps = (starts <= ends + SLACK_NS)[must_overlap]
    return not len(overlaps) or bool(np.mean(overlaps) >= OVERLAPPING)
