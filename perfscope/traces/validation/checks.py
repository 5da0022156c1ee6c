"""The checks of the tables of a trace. Each returns the repaired tables and the number of events
that violate its invariant, or None where none does.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.validation.lost_kernels import lost_launches

Tables = dict[str, pd.DataFrame]
ON_DEVICE: Final = ("kernels", "copies", "collectives")
CLOCKS_NS: Final = 2_000
"""The clocks of host and device match to about this."""
FEWEST_EARLY: Final = 3
EARLY_SHARE: Final = 0.01
"""Fewer kernels than this that start before their launch are noise of the clocks."""
MOVED_QUANTILE: Final = 0.999
"""A thousandth of the launches may be damaged themselves and does not decide how far to move."""
FEWEST_LAUNCHES: Final = 10
"""Launches on each side of a jump of the clock, so that it is not two threads that take turns."""
OVERLAP_SHARE: Final = 0.05
"""Marks of successive steps may overlap by this share: leaving a step takes time."""
ROUNDING_NS: Final = 1_000


class Repaired(NamedTuple):
    """Tables without a violation, and how many events had it."""

    tables: Tables
    events: int


Check = Callable[[Tables], Repaired | None]


def numbers(table: pd.DataFrame, name: str) -> Ints:
    """Return a column as int64."""
    return table[name].to_numpy(np.int64)


def in_groups(table: pd.DataFrame, *names: str) -> NDArray[np.intp]:
    """Return the rows in order of these columns and then of time."""
    columns = [numbers(table, name) for name in reversed(names)]
    return np.lexsort((numbers(table, "ts"), *columns))


def same_as_next(table: pd.DataFrame, order: NDArray[np.intp], *names: str) -> NDArray[np.bool_]:
    """Return, for each row but the last in this order, whether the next is in the same group."""
    same = np.ones(max(len(order) - 1, 0), bool)
    for name in names:
        ordered = numbers(table, name)[order]
        same &= ordered[1:] == ordered[:-1]
    return same


def check_clock_jump(tables: Tables) -> Repaired | None:
    """Check that calls with higher correlation ids come later: else the clock was set back.

    The events that were recorded after the jump follow the others without a pause.
    """
    launches = tables.get("launches")
    if launches is None or launches["process"].nunique() > 1:
        return None
    ids, ts = numbers(launches, "correlation"), numbers(launches, "ts")
    ids, ts = ids[ids > 0], ts[ids > 0]
    if len(ids) < 2 * FEWEST_LAUNCHES:
        return None
    if (ts[1:] < ts[:-1]).any():
        order = np.argsort(ts, kind="stable")
        ids, ts = ids[order], ts[order]
    lowest_before = np.minimum.accumulate(ids)[:-1]
    highest_after = np.maximum.accumulate(ids[::-1])[::-1][1:]
    jumps = np.flatnonzero(lowest_before > highest_after)
    if not len(jumps):
        return None
    before = int(jumps[0]) + 1
    if min(before, len(ids) - before) < FEWEST_LAUNCHES:
        return None
    boundary_ns = largest_gap(tables, int(ts[before - 1]), int(ts[before]))
    return moved_after_all(tables, boundary_ns)


def largest_gap(tables: Tables, begin_ns: int, end_ns: int) -> int:
    """Return the end of the longest time between two instants in which no event starts."""
    instants = [np.array([begin_ns, end_ns])]
    for table in tables.values():
        if "ts" in table:
            ts = numbers(table, "ts")
            instants.append(ts[(ts > begin_ns) & (ts < end_ns)])
    ordered = np.unique(np.concatenate(instants))
    return int(ordered[np.argmax(np.diff(ordered)) + 1])


def moved_after_all(tables: Tables, boundary_ns: int) -> Repaired:
    """Return the tables with all events before an instant moved behind those after it."""
    timed = {name: table for name, table in tables.items() if "ts" in table}
    first_ns = min(int(table["ts"].min()) for table in timed.values())
    last_ns = max(int(end_of(table).max()) for table in timed.values())
    events = 0
    moved = dict(tables)
    for name, table in timed.items():
        ts = numbers(table, "ts")
        is_moved = ts < boundary_ns
        events += int(is_moved.sum())
        later_ns = np.where(is_moved, ts - first_ns + last_ns, ts)
        moved[name] = table.assign(ts=later_ns - (boundary_ns - first_ns))
    return Repaired(moved, events)


def end_of(table: pd.DataFrame) -> Ints:
    """Return when each event ends."""
    ts = numbers(table, "ts")
    return ts + numbers(table, "dur") if "dur" in table else ts


def check_kernel_before_launch(tables: Tables) -> Repaired | None:
    """Check that no kernel starts before the call that launches it: else the clocks differ."""
    kernels, launches = tables.get("kernels"), tables.get("launches")
    if kernels is None or launches is None:
        return None
    launch = numbers(kernels, "launch")
    early_ns = np.where(launch >= 0, numbers(launches, "ts")[launch] - numbers(kernels, "ts"), 0)
    is_early = early_ns > CLOCKS_NS
    if np.count_nonzero(is_early) < max(FEWEST_EARLY, EARLY_SHARE * len(kernels)):
        return None
    moved = dict(tables)
    device, events = numbers(kernels, "device"), 0
    for number in np.unique(device[is_early]):
        of_device = (device == number) & (launch >= 0)
        offset_ns = int(np.quantile(early_ns[of_device], MOVED_QUANTILE, method="higher"))
        events += int(np.count_nonzero(is_early & of_device))
        for name in ON_DEVICE:
            if name in moved:
                table = moved[name]
                on_device = numbers(table, "device") == number
                ts = numbers(table, "ts")
                moved[name] = table.assign(ts=np.where(on_device, ts + offset_ns, ts))
    return Repaired(moved, events)


def check_kernel_overlap(tables: Tables) -> Repaired | None:
    """Check that no kernel outlasts a later one of its stream, which waits for it: else it ends
    where the next one starts.

    A kernel may start while the one before it ends (a dependent launch), and the kernels of one
    graph may run side by side.
    """
    kernels = tables.get("kernels")
    if kernels is None:
        return None
    stream = ("process", "device", "stream")
    order = in_groups(kernels, *stream)
    ts, end = numbers(kernels, "ts")[order], end_of(kernels)[order]
    same_stream = same_as_next(kernels, order, *stream)
    earliest_end = earliest_later_end(end, np.flatnonzero(~same_stream) + 1)
    outlasts = same_stream & (end[:-1] > earliest_end[:-1] + ROUNDING_NS)
    launch = numbers(kernels, "launch")[order]
    in_one_graph = kernels["graph"].to_numpy(bool)[order][1:] & (launch[1:] == launch[:-1])
    outlasts &= ~in_one_graph & (numbers(kernels, "stream")[order][1:] >= 0)
    at = np.flatnonzero(outlasts)
    if not len(at):
        return None
    dur = numbers(kernels, "dur").copy()
    dur[order[at]] = ts[at + 1] - ts[at]
    repaired = {**tables, "kernels": kernels.assign(dur=dur)}
    collectives = tables.get("collectives")
    if collectives is not None:
        repaired["collectives"] = collectives.assign(dur=dur[numbers(collectives, "kernel")])
    return Repaired(repaired, len(at))


def earliest_later_end(end: Ints, streams: NDArray[np.intp]) -> Ints:
    """Return the earliest end of all later rows of the stream of each row but its last.

    `streams` are the rows with which the streams after the first begin.
    """
    parts = []
    for of_stream in np.split(end, streams):
        earliest = np.minimum.accumulate(of_stream[::-1])[::-1]
        parts.append(np.append(earliest[1:], of_stream[-1:]))
    return np.concatenate(parts)


def check_overlapping_steps(tables: Tables) -> Repaired | None:
    """Check that a mark of a step ends before the next one of its thread ends."""
    ranges = tables.get("ranges")
    if ranges is None:
        return None
    rows = np.flatnonzero((ranges["category"] == "step").to_numpy(bool))
    marks = ranges.iloc[rows]
    order = in_groups(marks, "process", "tid")
    ts, end = numbers(marks, "ts")[order], end_of(marks)[order]
    tolerated_ns = np.maximum(OVERLAP_SHARE * numbers(marks, "dur")[order][:-1], ROUNDING_NS)
    outlasts = same_as_next(marks, order, "process", "tid") & (end[:-1] > ts[1:] + tolerated_ns)
    at = np.flatnonzero(outlasts & (end[:-1] < end[1:]))
    if not len(at):
        return None
    dur = numbers(ranges, "dur").copy()
    dur[rows[order[at]]] = ts[at + 1] - ts[at]
    return Repaired({**tables, "ranges": ranges.assign(dur=dur)}, len(at))


def check_overlap_on_thread(tables: Tables) -> Repaired | None:
    """Check that a wait for the loader ends with the step that it begins in."""
    waits, ranges = tables.get("loader"), tables.get("ranges")
    if waits is None or ranges is None:
        return None
    steps = ranges[(ranges["category"] == "step").to_numpy(bool)]
    dur, events = numbers(waits, "dur").copy(), 0
    for (process, tid), marks in steps.groupby(["process", "tid"]):
        marks = marks.sort_values("ts")
        ts, end = numbers(marks, "ts"), end_of(marks)
        begin = numbers(waits, "ts")
        at = np.searchsorted(ts, begin, side="right") - 1
        on_thread = (numbers(waits, "process") == process) & (numbers(waits, "tid") == tid)
        within = on_thread & (at >= 0) & (begin < end[at])
        outlasts = within & (begin + dur > end[at] + np.maximum(ROUNDING_NS, OVERLAP_SHARE * dur))
        dur[outlasts] = (end[at] - begin)[outlasts]
        events += int(np.count_nonzero(outlasts))
    return Repaired({**tables, "loader": waits.assign(dur=dur)}, events) if events else None


def check_launch_without_kernel(tables: Tables) -> Repaired | None:
    """Check that the kernels of launches were recorded.

    Nothing is repaired: the diagnosis leaves the time out in which the device's work is unknown.
    """
    events = lost_launches(tables)
    return Repaired(tables, len(events)) if len(events) else None


CHECKS: Final[dict[str, Check]] = {
    "clock-jump": check_clock_jump,
    "kernel-before-launch": check_kernel_before_launch,
    "kernel-overlap-on-stream": check_kernel_overlap,
    "overlapping-steps": check_overlapping_steps,
    "overlap-on-thread": check_overlap_on_thread,
    "launch-without-kernel": check_launch_without_kernel,
}
"""By invariant, in the order in which they are made: those that move events come first."""


def check_tables(tables: Tables) -> tuple[Tables, dict[str, int]]:
    """Return the tables without what violates an invariant, and how many events violate each."""
    counts: dict[str, int] = {}
    for invariant, check in CHECKS.items():
        repaired = check(tables)
        if repaired is not None:
            tables = repaired.tables
            counts[invariant] = repaired.events
    return tables, counts
