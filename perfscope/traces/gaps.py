"""Two sequences of one process group paired although either lacks records: by their signatures and
when they end.

A profiler whose buffer overflows loses single records, and every later place is off by one. The
time between two ends is the same on all ranks, whatever their clocks say: runs of equal times find
the clocks' offset, and from there on the sequences are walked side by side, which skips what only
one of them has.
"""

from collections.abc import Sequence

import numpy as np

from perfscope.traces.clock_shift import MOST_DRIFT
from perfscope.traces.intervals import Ints

# The offset of the clocks follows each pair by this share, which a drift needs and a single late
# end hardly moves.
FOLLOW = 0.25
# Runs from which the walk is tried: the longest may be one period off where everything repeats.
MOST_ANCHORS = 4
FEWEST_IN_A_RUN = 3

Pairs = tuple[Ints, Ints]


def paired_in_time(first: Pairs, other: Pairs, lags: Sequence[int], slack_ns: int) -> Pairs:
    """Places in the first and places in the other that are one collective, of (signatures, ends,
    ns) of both.

    `lags`: places of the first at which the other may begin, the likeliest first. Empty where
    nothing fits.
    """
    runs = [
        (run[0], -near, run[1], lag)
        for near, lag in enumerate(lags)
        if (run := longest_run(first, other, lag, slack_ns))
    ]
    best: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64))
    for length, _, at, lag in sorted(runs, reverse=True)[:MOST_ANCHORS]:
        found = walked_both_ways(first, other, at + length // 2, at + length // 2 - lag, slack_ns)
        if len(found[0]) > len(best[0]):
            best = found
    return best


def longest_run(first: Pairs, other: Pairs, lag: int, slack_ns: int) -> tuple[int, int] | None:
    """(pairs, place in the first) of the longest run in which all signatures and the times between
    ends agree.
    """
    low, high = max(lag, 0), min(len(first[0]), len(other[0]) + lag)
    if high - low < FEWEST_IN_A_RUN:
        return None
    same = first[0][low:high] == other[0][low - lag : high - lag]
    mine, theirs = np.diff(first[1][low:high]), np.diff(other[1][low - lag : high - lag])
    agree = same[1:] & same[:-1] & (np.abs(mine - theirs) <= slack_ns + MOST_DRIFT * np.abs(mine))
    breaks = np.flatnonzero(np.r_[True, ~agree, True])
    longest = int(np.argmax(np.diff(breaks)))
    pairs = int(breaks[longest + 1] - breaks[longest])
    return (pairs, low + int(breaks[longest])) if pairs >= FEWEST_IN_A_RUN else None


def walked_both_ways(first: Pairs, other: Pairs, mine: int, theirs: int, slack_ns: int) -> Pairs:
    """From a pair that is known on, to the end and to the begin."""
    offset = int(first[1][mine] - other[1][theirs])
    after = walked(
        (first[0][mine:], first[1][mine:]), (other[0][theirs:], other[1][theirs:]), offset, slack_ns
    )
    before = walked(
        (first[0][:mine][::-1], -first[1][:mine][::-1]),
        (other[0][:theirs][::-1], -other[1][:theirs][::-1]),
        -offset,
        slack_ns,
    )
    return (
        np.concatenate([mine - 1 - before[0][::-1], mine + after[0]]),
        np.concatenate([theirs - 1 - before[1][::-1], theirs + after[1]]),
    )


def walked(first: Pairs, other: Pairs, offset: float, slack_ns: int) -> Pairs:
    """Places side by side: those that end together are paired, of the others the earlier is
    skipped.
    """
    (kinds, ends), (other_kinds, other_ends) = (
        [column.tolist() for column in one] for one in (first, other)
    )
    mine: list[int] = []
    theirs: list[int] = []
    at = other_at = 0
    last = ends[0] if ends else 0
    while at < len(ends) and other_at < len(other_ends):
        apart = ends[at] - other_ends[other_at] - offset
        if (
            abs(apart) <= slack_ns + MOST_DRIFT * abs(ends[at] - last)
            and kinds[at] == other_kinds[other_at]
        ):
            mine.append(at)
            theirs.append(other_at)
            offset += FOLLOW * apart
            last = ends[at]
            at, other_at = at + 1, other_at + 1
        elif apart < 0:
            at += 1
        else:
            other_at += 1
    return np.array(mine, np.int64), np.array(theirs, np.int64)
