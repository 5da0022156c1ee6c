"""Statistics of a stretch of chosen lanes: count, sum, share and exclusive time by name or colour
(by range: places.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.timeline.lane import COLOURS, Lane
from perfscope.analyzer.timeline.track import COUNTER, Lanes
from perfscope.traces.intervals import Ints

BY = ("name", "category")
COLUMNS = ("name", "category", "count", "sum_ns", "share", "exclusive_ns", "longest_ns")


def selection(
    lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int], by: str = "name"
) -> pd.DataFrame:
    """One row a name (or category), the largest exclusive time first.

    Columns: name, category, count (events that touch the stretch), sum_ns (their time inside it),
    share (exclusive_ns of the stretch's length times its tracks, so that what runs on two streams
    at once is not above 1), exclusive_ns (without the events nested inside them), longest_ns
    (whole, also what lies outside).
    """
    names = len(lanes.names)
    count, total, alone = (np.zeros(names, np.int64) for _ in range(3))
    longest = np.zeros(names, np.int64)
    for one in stretches(lanes, begin_ns, end_ns, chosen):
        code = one.lane.code(one.part)
        count += np.bincount(code, minlength=names)
        total += sums(code, one.inside, names)
        alone += sums(code, one.alone, names)
        np.maximum.at(longest, code, one.lane.dur(one.part))
    return framed(
        lanes, by, (count, total, alone, longest), whole_ns(lanes, begin_ns, end_ns, chosen)
    )


@dataclass(frozen=True)
class Stretch:
    """The events of one lane that touch the selection: ns of each inside of it, and of that outside
    of nested events.
    """

    number: int
    lane: Lane
    part: slice
    inside: Ints
    alone: Ints


def stretches(lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int]) -> Iterator[Stretch]:
    """Of every chosen lane that has any."""
    below = {
        one.first + row: one.first + row + 1 for one in lanes.tracks for row in range(one.rows - 1)
    }
    nests = {
        number
        for one in lanes.tracks
        if one.kind != "stream"
        for number in range(one.first, one.first + one.rows)
    }
    for number in chosen:
        lane = lanes.lanes[number]
        if lane.level is not None:
            continue
        part = lane.window(begin_ns, end_ns)
        if part.stop <= part.start:
            continue
        start, stop = clipped(lane, part, begin_ns, end_ns)
        inner = lanes.lanes[below[number]] if number in below and number in nests else None
        nested = (
            np.zeros(len(start), np.int64)
            if inner is None
            else busy(inner, stop) - busy(inner, start)
        )
        yield Stretch(number, lane, part, stop - start, stop - start - nested)


def whole_ns(lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int]) -> int:
    """The length of the stretch times the tracks that are chosen, for shares."""
    held = set(chosen)
    work = [one for one in lanes.tracks if one.kind != COUNTER]
    tracks = sum(not held.isdisjoint(range(one.first, one.first + one.rows)) for one in work)
    return (end_ns - begin_ns) * max(tracks, 1)


def clipped(lane: Lane, part: slice, begin_ns: int, end_ns: int) -> tuple[Ints, Ints]:
    """Starts and ends inside the stretch."""
    ts = lane.ts[part]
    return np.maximum(ts, begin_ns), np.clip(ts + lane.dur(part), begin_ns, end_ns)


def busy(lane: Lane, until: Ints) -> Ints:
    """Nanoseconds of a lane's events that lie before each instant."""
    if not len(lane):
        return np.zeros(len(until), np.int64)
    at = np.searchsorted(lane.ts, until)
    before = np.maximum(at - 1, 0)
    over = np.maximum(lane.ts[before] + (lane.key[before] >> lane.bits) - until, 0)
    return np.asarray(lane.total[at] - np.where(at > 0, over, 0), np.int64)


def sums(code: np.ndarray, amount: Ints, names: int) -> Ints:
    """Nanoseconds per code; float64 sums are exact below 2**53 ns, which is 104 days."""
    return np.rint(np.bincount(code, weights=amount, minlength=names)).astype(np.int64)


def framed(
    lanes: Lanes, by: str, amounts: tuple[Ints, Ints, Ints, Ints], of_ns: int
) -> pd.DataFrame:
    count, total, alone, longest = amounts
    seen = np.flatnonzero(count)
    frame = pd.DataFrame(
        {
            "name": [lanes.names.texts[one] for one in seen],
            "category": [COLOURS[lanes.names.colours[one]] for one in seen],
            "count": count[seen],
            "sum_ns": total[seen],
            "exclusive_ns": alone[seen],
            "longest_ns": longest[seen],
        }
    )
    if by == "category" and len(frame):
        added = frame.groupby("category", sort=False).agg(
            {"count": "sum", "sum_ns": "sum", "exclusive_ns": "sum", "longest_ns": "max"}
        )
        frame = added.reset_index().assign(name=added.index.to_numpy())
    return ordered(frame, of_ns)


def ordered(frame: pd.DataFrame, of_ns: int) -> pd.DataFrame:
    """With shares of `of_ns`, the largest exclusive time first."""
    frame = frame.assign(share=frame["exclusive_ns"] / max(of_ns, 1))
    return frame.sort_values(
        ["exclusive_ns", "sum_ns"], ascending=False, kind="stable", ignore_index=True
    )[list(COLUMNS)]
