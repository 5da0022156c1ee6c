"""Which collectives of different ranks are one and the same: those at the same place in the
sequence of a process group.

Needs no common clock. Ranks call the collectives of a group in the same order, so the n-th of one
rank is the n-th of the other, or the (n + k)-th where one recording began k collectives earlier.
Kinds and sizes must agree all along, and with the clocks brought together the two must overlap:
nobody leaves before the last has come. Where that leaves ends apart, records may be lost: then they
are paired by the times at which ranks leave together (`gaps`).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.traces.clock_shift import Shift, fitted, residual_ns
from perfscope.traces.gaps import Pairs, paired_in_time
from perfscope.traces.intervals import Ints

POINT_TO_POINT = ("send", "recv")
# One rank gives or takes, and may leave before the last has come.
ROOTED = ("broadcast", "reduce", "gather", "scatter")
# Sizes that every rank of the group has the same (all_to_all and gather may be uneven).
EVEN = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
# Ranks leave a collective within microseconds of each other, and a device's clock is brought to its
# host's to a few more.
SLACK_NS = 50_000
# Of wrongly paired collectives about as many overlap as the share of time spent in them; of rightly
# paired ones all do.
OVERLAPPING = 0.9
# A shift other than none must leave less than this share of the spread unexplained: recordings
# mostly begin together.
SHIFT_GAIN = 0.5
MOST_SHIFT = 512
FEWEST_COMMON = 4
# A recording that lacks more of a sequence than a quarter is not taken for the same one.
FEWEST_KEPT = 0.75
# Places tried where records may be lost: more are lost in one piece only with whole steps.
MOST_LAGS = 257


@dataclass(frozen=True)
class Sequence:
    """The collectives of one rank in one process group, in order: rows of the table, signatures,
    starts and ends.

    `together` is 1 where nobody can leave before the last has come. `named`: the recording says the
    group.
    """

    unit: int
    named: bool
    rows: Ints
    signature: Ints
    together: Ints
    ts: Ints
    end: Ints


def matched(collectives: pd.DataFrame, kernels: pd.DataFrame | None) -> Ints:
    """For each row of `collectives` the number of its match, -1 for none: rows of one match are one
    collective.

    A match has rows of two ranks or more (devices, where one process drives several). Sends and
    receives are not matched, nor groups of which more ranks are there than the group has: their
    name means several groups.
    """
    match = np.full(len(collectives), -1, np.int64)
    units = unit_of(collectives)
    if len(collectives) == 0 or len(np.unique(units)) < 2:
        return match
    count = 0
    for sequences in by_group(collectives, kernels, units):
        first, *others = sorted(sequences, key=lambda one: (-len(one.rows), one.unit))
        place = np.full(len(first.rows), -1, np.int64)
        for other in others:
            pairs = paired(first, other)
            if pairs is None:
                continue
            mine, theirs = pairs
            fresh = place[mine] < 0
            place[mine] = np.where(fresh, count + np.cumsum(fresh) - 1, place[mine])
            count += int(fresh.sum())
            match[other.rows[theirs]] = place[mine]
        match[first.rows] = place
    return match


def unit_of(collectives: pd.DataFrame) -> Ints:
    """A number for each process and device: what takes part in a collective."""
    process = collectives["process"].to_numpy(np.int64)
    unit: Ints = process * 4096 + np.clip(collectives["device"].to_numpy(np.int64), -1, 4094)
    return unit


def by_group(
    collectives: pd.DataFrame, kernels: pd.DataFrame | None, units: Ints
) -> list[list[Sequence]]:
    """The sequences of each group that two units or more took part in."""
    kind = pd.Categorical(collectives["kind"])
    frame = pd.DataFrame({"unit": units, "ts": collectives["ts"].to_numpy(np.int64)})
    frame["end"] = frame["ts"] + collectives["dur"].to_numpy(np.int64)
    frame["size"] = collectives["group_size"].to_numpy(np.int64)
    frame["together"] = (~np.isin(kind, ROOTED)).astype(np.int64)
    named = collectives["group"].notna().to_numpy()
    lane, name = nameless(collectives, kernels, units)
    group = np.asarray(pd.Categorical(collectives["group"]).codes, np.int64)
    frame["group"] = np.where(named, group, -2 - lane)
    even = np.isin(kind, EVEN)
    size = np.where(even, collectives["in_bytes"].to_numpy(np.int64), -1)
    frame["signature"] = np.where(named, pd.factorize(size)[0] * 64 + kind.codes, name)
    frame = frame[~np.isin(kind, POINT_TO_POINT) & (named | (lane >= 0))].sort_values(
        "ts", kind="stable"
    )
    found = []
    for code, rows in frame.groupby("group", sort=True):
        present, most = rows["unit"].nunique(), int(rows["size"].max())
        if present >= 2 and not 0 < most < present:
            found.append(
                [sequence(own, int(str(code)) >= 0) for _, own in rows.groupby("unit", sort=True)]
            )
    return found


def sequence(rows: pd.DataFrame, named: bool) -> Sequence:
    at = rows.index.to_numpy(np.int64)
    return Sequence(
        int(rows["unit"].iloc[0]),
        named,
        at,
        *(rows[name].to_numpy(np.int64) for name in ("signature", "together", "ts", "end")),
    )


def nameless(
    collectives: pd.DataFrame, kernels: pd.DataFrame | None, units: Ints
) -> tuple[Ints, Ints]:
    """Without metadata: (number of the stream among those of its unit, code of the kernel's name)
    of each row.

    Only streams whose numbers of collectives are nearly the same on every unit are told (-1 else):
    nothing else says that they belong together.
    """
    lane = np.full(len(collectives), -1, np.int64)
    name = np.zeros(len(collectives), np.int64)
    bare = np.flatnonzero(collectives["group"].isna().to_numpy())
    if not len(bare) or kernels is None:
        return lane, name
    name[bare] = pd.Categorical(kernels["name"]).codes[
        collectives["kernel"].to_numpy(np.int64)[bare]
    ]
    own = pd.DataFrame(
        {"unit": units[bare], "stream": collectives["stream"].to_numpy(np.int64)[bare]}
    )
    number = own.groupby("unit")["stream"].rank(method="dense").to_numpy(np.int64) - 1
    counts = pd.crosstab(number, own["unit"].to_numpy())
    same = counts.index[counts.min(axis=1) >= FEWEST_KEPT * counts.max(axis=1)].to_numpy(np.int64)
    lane[bare] = np.where(np.isin(number, same), number, -1)
    return lane, name


def paired(first: Sequence, other: Sequence) -> Pairs | None:
    """Places in `first` and in `other` that are one collective; None where they do not fit.

    By order, unless pairs by the times of the ends bring more of them together.
    """
    lengths = len(first.rows), len(other.rows)
    begin = common_begin(first, other)
    in_order = None if begin is None else places_in_order(lengths, begin)
    fit_in_order = 0 if in_order is None else leaving_together(first, other, in_order)
    if in_order is not None and fit_in_order == len(in_order[0]):
        return in_order
    in_time = paired_in_time(
        (first.signature, first.end),
        (other.signature, other.end),
        near(lengths)[:MOST_LAGS],
        SLACK_NS,
    )
    if (
        len(in_time[0]) >= fewest(lengths)
        and leaving_together(first, other, in_time) > fit_in_order
    ):
        return in_time
    # Without names of groups only that ranks leave together says that unequal sequences are one.
    unsure = not first.named and lengths[0] != lengths[1]
    return (
        None
        if in_order is None or (unsure and fit_in_order < OVERLAPPING * len(in_order[0]))
        else in_order
    )


def places_in_order(lengths: tuple[int, int], begin: int) -> Pairs:
    """One behind the other from `begin` on."""
    mine, theirs = common(*lengths, begin)
    return np.arange(mine.start, mine.stop, dtype=np.int64), np.arange(
        theirs.start, theirs.stop, dtype=np.int64
    )


def leaving_together(first: Sequence, other: Sequence, pairs: Pairs) -> int:
    """How many of the pairs end together, on clocks brought together."""
    ts, difference = other.end[pairs[1]], first.end[pairs[0]] - other.end[pairs[1]]
    left = np.abs(difference - fitted(ts, difference).offset_ns(ts))
    return int((left <= SLACK_NS).sum())


def fewest(lengths: tuple[int, int]) -> int:
    """How many collectives two sequences must have in common."""
    return max(min(FEWEST_COMMON, *lengths), int(FEWEST_KEPT * min(lengths)))


def near(lengths: tuple[int, int]) -> list[int]:
    """Places at which the other may begin, the likeliest first: together at the start or the end,
    then near to it.
    """
    lead = lengths[0] - lengths[1]
    found = sorted(
        range(-MOST_SHIFT, lead + MOST_SHIFT + 1), key=lambda at: min(abs(at), abs(at - lead))
    )
    return found[: 2 * MOST_SHIFT + 1]


def common(first: int, other: int, begin: int) -> tuple[slice, slice]:
    """Where two sequences of these lengths overlap when the other begins at place `begin` of the
    first.
    """
    low, high = max(begin, 0), min(first, other + begin)
    return slice(low, high), slice(low - begin, high - begin)


def common_begin(first: Sequence, other: Sequence) -> int | None:
    """The place in `first` at which `other` begins; None when they do not fit.

    Of all places where the signatures agree that one where the ends differ by the same amount all
    along: ranks leave a collective together.
    """
    best: tuple[float, int] | None = None
    for begin in places(first, other):
        shift, spread = fit(first, other, begin)
        if not overlap(first, other, begin, shift):
            continue
        # The first place tried is the likeliest, so another has to be clearly better.
        if best is None or spread < SHIFT_GAIN * best[0]:
            best = (spread, begin)
    return None if best is None else best[1]


def places(first: Sequence, other: Sequence) -> list[int]:
    """Places at which all signatures agree, the likeliest first."""
    lengths = len(first.rows), len(other.rows)
    enough = fewest(lengths)
    agreeing = []
    for begin in near(lengths):
        mine, theirs = common(*lengths, begin)
        if mine.stop - mine.start < enough:
            continue
        if np.array_equal(first.signature[mine], other.signature[theirs]):
            agreeing.append(begin)
    return agreeing


def fit(first: Sequence, other: Sequence, begin: int) -> tuple[Shift, float]:
    """What brings the other's clock onto the first's, and what that leaves unexplained, ns."""
    mine, theirs = common(len(first.rows), len(other.rows), begin)
    difference = first.end[mine] - other.end[theirs]
    shift = fitted(other.end[theirs], difference)
    return shift, float(residual_ns(shift, other.end[theirs], difference))


def overlap(first: Sequence, other: Sequence, begin: int, shift: Shift) -> bool:
    """Do the two take place at the same time, as far as one common clock allows?"""
    mine, theirs = common(len(first.rows), len(other.rows), begin)
    starts = np.maximum(first.ts[mine], shift.moved(other.ts[theirs]))
    ends = np.minimum(first.end[mine], shift.moved(other.end[theirs]))
    fits = (starts <= ends + SLACK_NS)[(first.together[mine] & other.together[theirs]) == 1]
    return not len(fits) or bool(np.mean(fits) >= OVERLAPPING)
