"""Statistics of a time range on chosen lanes: count, sum, share and exclusive time by name or color
(by range or module: call_statistics.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.timeline.lane import EVENT_COLORS, Lane
from perfscope.analyzer.timeline.track import COUNTER, Lanes
from perfscope.traces.intervals import Ints

BY = ("name", "category")
COLUMNS = ("name", "category", "count", "sum_ns", "share", "exclusive_ns", "longest_ns")


def selection(
    lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int], by: str = "name"
) -> pd.DataFrame:
    """Return one row per name (or category), the largest exclusive time first.

    Columns: name, category, count (events that overlap the range), sum_ns (their time inside it),
    share (exclusive_ns over the length of the range times its tracks, so that work on two streams
    at once is at most 1), exclusive_ns (without the events nested inside them), longest_ns (the
    whole event, including its part outside).
    """
    names = len(lanes.names)
    count, total, alone = (np.zeros(names, np.int64) for _ in range(3))
    longest = np.zeros(names, np.int64)
    for stretch in selected_stretches(lanes, begin_ns, end_ns, chosen):
        code = stretch.lane.code(stretch.part)
        count += np.bincount(code, minlength=names)
        total += sums(code, stretch.inside, names)
        alone += sums(code, stretch.alone, names)
        np.maximum.at(longest, code, stretch.lane.dur(stretch.part))
    return statistics_table(
        lanes, by, (count, total, alone, longest), whole_ns(lanes, begin_ns, end_ns, chosen)
    )


@dataclass(frozen=True)
class Stretch:
    """The events of one lane that overlap the selection.

    `inside`: ns of each inside it; `alone`: the part of that outside of nested events.
    """

    number: int
    lane: Lane
    part: slice
    inside: Ints
    alone: Ints


def selected_stretches(
    lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int]
) -> Iterator[Stretch]:
    """Yield the events of every chosen lane that has any in the selection."""
    below = {
        track.first + row: track.first + row + 1
        for track in lanes.tracks
        for row in range(track.rows - 1)
    }
    nests = {
        number
        for track in lanes.tracks
        if track.kind != "stream"
        for number in range(track.first, track.first + track.rows)
    }
    for number in chosen:
        lane = lanes.lanes[number]
        if lane.level is not None:
            continue
        part = lane.window(begin_ns, end_ns)
        if part.stop <= part.start:
            continue
        start, stop = clip_to_selection(lane, part, begin_ns, end_ns)
        inner = lanes.lanes[below[number]] if number in below and number in nests else None
        nested = (
            np.zeros(len(start), np.int64)
            if inner is None
            else busy(inner, stop) - busy(inner, start)
        )
        yield Stretch(number, lane, part, stop - start, stop - start - nested)


def whole_ns(lanes: Lanes, begin_ns: int, end_ns: int, chosen: Sequence[int]) -> int:
    """Return the length of the selection times the chosen tracks, which shares are of."""
    numbers = set(chosen)
    work = [track for track in lanes.tracks if track.kind != COUNTER]
    tracks = sum(
        not numbers.isdisjoint(range(track.first, track.first + track.rows)) for track in work
    )
    return (end_ns - begin_ns) * max(tracks, 1)


def clip_to_selection(lane: Lane, part: slice, begin_ns: int, end_ns: int) -> tuple[Ints, Ints]:
    """Return starts and ends, clipped to the selection."""
    ts = lane.ts[part]
    return np.maximum(ts, begin_ns), np.clip(ts + lane.dur(part), begin_ns, end_ns)


def busy(lane: Lane, until: Ints) -> Ints:
    """Return the ns of a lane's events before each instant."""
    if not len(lane):
        return np.zeros(len(until), np.int64)
    at = np.searchsorted(lane.ts, until)
    before = np.maximum(at - 1, 0)
    over = np.maximum(lane.ts[before] + (lane.key[before] >> lane.bits) - until, 0)
    return np.asarray(lane.total[at] - np.where(at > 0, over, 0), np.int64)


def sums(code: np.ndarray, amount: Ints, names: int) -> Ints:
    """Return the ns per code; float64 sums are exact below 2**53 ns, which is 104 days."""
    return np.rint(np.bincount(code, weights=amount, minlength=names)).astype(np.int64)


def statistics_table(
    lanes: Lanes, by: str, amounts: tuple[Ints, Ints, Ints, Ints], of_ns: int
) -> pd.DataFrame:
    """Return the statistics as a table; shares are of `of_ns`."""
    count, total, alone, longest = amounts
    seen = np.flatnonzero(count)
    frame = pd.DataFrame(
        {
            "name": [lanes.names.texts[code] for code in seen],
            "category": [EVENT_COLORS[lanes.names.colors[code]] for code in seen],
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
    return order_by_exclusive_time(frame, of_ns)


def order_by_exclusive_time(frame: pd.DataFrame, of_ns: int) -> pd.DataFrame:
    """Return the table with shares of `of_ns`, the largest exclusive time first."""
    frame = frame.assign(share=frame["exclusive_ns"] / max(of_ns, 1))
    return frame.sort_values(
        ["exclusive_ns", "sum_ns"], ascending=False, kind="stable", ignore_index=True
    )[list(COLUMNS)]
