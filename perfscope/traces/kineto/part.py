"""A piece of text to columns: what one process does with each piece, on its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import groups
from perfscope.traces.kineto.columns import BAD, Coded, coded, integers, nanoseconds, needs_text, one_by_one
from perfscope.traces.kineto.events import EXACT, NO_ARGS, TRAILING, Args, Event, decoded

Column = Ints | Coded
DAY_NS = 86_400_000_000_000


@dataclass
class Part:
    """Columns by group, metadata rows (pid, tid, name, value), how many events were left out, by reason, and where in the
    text the array ended, None when it goes on.
    """

    groups: dict[str, dict[str, Column]] = field(default_factory=dict)
    meta: list[tuple[Any, Any, str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    events: int = 0
    ended_at: int | None = None


NUMBERS: dict[str, tuple[str, ...]] = {
    groups.OPS: ("sequence", "forward_tid"),
    groups.LAUNCHES: ("correlation",),
    groups.KERNELS: ("correlation", "device", "stream", "sent", "received", "group_size"),
    groups.COPIES: ("correlation", "device", "stream", "bytes"),
    groups.MEMORY: ("memory_bytes", "allocated", "reserved", "device_id", "device_type"),
    groups.RANGES: (),
    groups.SPANS: (),
}
NAMES: dict[str, tuple[str, ...]] = {
    groups.KERNELS: ("collective", "dtype", "group", "ranks", "direction"),
}
TEXTS: dict[str, tuple[str, ...]] = {groups.OPS: ("dims", "types")}
WITH_CATEGORY = (groups.RANGES, groups.KERNELS)


def part_of(piece: bytes) -> Part:
    """The columns of a piece of the event array, with or without what follows the array. Raises msgspec.DecodeError."""
    text, ended_at = b"[" + piece + b"]", None
    try:
        events, texts, no_objects = decoded(text)
    except msgspec.DecodeError as error:
        trailing = TRAILING.search(str(error))
        if trailing is None:
            raise
        ended_at = piece.rindex(b"]", 0, int(trailing[1]) - 1)
        text = b"[" + piece[: ended_at + 1]
        ended_at += 1
        events, texts, no_objects = decoded(text)
    part = Part(events=len(events), ended_at=ended_at)
    if no_objects:
        part.left_out["are no objects"] = no_objects
    times = exact_times(text, events, texts) if needs_text([event.ts for event in events[:100]]) else None
    for name, rows in sorted_out(events).items():
        if name == groups.META:
            part.meta += [meta(events[at]) for at in rows]
        else:
            part.groups[name] = columns(name, [events[at] for at in rows], part, times, rows)
    return part


def sorted_out(events: list[Event]) -> dict[str, list[int]]:
    """Rows of each group."""
    rows: dict[str, list[int]] = {}
    known: dict[Any, list[int] | None] = {}
    for at, event in enumerate(events):
        key = (event.ph, event.cat) if event.ph != "i" else ("i", event.name)
        try:
            mine = known[key]
        except (KeyError, TypeError):
            group = groups.group_of(event.ph, event.cat, event.name)
            mine = None if group is None else rows.setdefault(group, [])
            try:
                known[key] = mine
            except TypeError:  # a list where a name should be
                continue
        if mine is not None:
            mine.append(at)
    return rows


def exact_times(text: bytes, events: list[Event], texts: Sequence[Any] | None) -> tuple[list[str], list[str]]:
    """`ts` and `dur` of every event as they are written."""
    raws = EXACT.decode(text) if texts is None else EXACT.decode(b"[" + b",".join(map(bytes, texts)) + b"]")
    return [written(raw.ts) for raw in raws], [written(raw.dur) for raw in raws]


def written(raw: Any) -> str:
    return "" if raw is None else bytes(raw).decode("utf-8", "replace")


def columns(
    group: str, events: list[Event], part: Part, times: tuple[list[str], list[str]] | None, rows: list[int]
) -> dict[str, Column]:
    """The columns of one group, without the events whose times are impossible."""
    if times is None:
        ts = nanoseconds([event.ts for event in events])
        dur = nanoseconds([0 if event.dur is None else event.dur for event in events])
    else:
        ts = one_by_one([times[0][at] for at in rows])
        dur = one_by_one([times[1][at] or "0" for at in rows])
    good = (ts != BAD) & (dur >= 0) & (dur < DAY_NS)
    if not good.all():
        part.left_out["have impossible times"] = part.left_out.get("have impossible times", 0) + int((~good).sum())
        events = [event for event, fine in zip(events, good, strict=True) if fine]
        ts, dur = ts[good], dur[good]
    args = [event.args or NO_ARGS for event in events]
    made: dict[str, Column] = {"ts": ts, "dur": dur, "pid": ids([event.pid for event in events])}
    made["tid"] = ids([event.tid for event in events])
    made["name"] = coded([event.name for event in events])
    if group in WITH_CATEGORY:
        made["cat"] = coded([event.cat for event in events])
    for name in NUMBERS[group]:
        made[name] = integers([-1 if value is None else value for value in map(GET[name], args)])
    for name in NAMES.get(group, ()):
        made[name] = coded(list(map(GET[name], args)))
    for name in TEXTS.get(group, ()):
        made[name] = coded([bytes(value).decode("utf-8", "replace") or None for value in map(GET[name], args)])
    return made


def ids(values: list[Any]) -> Ints:
    """Process and thread ids; text (a pid of another dialect) gets a number of its own below -1."""
    numbers = integers(values)
    if (numbers == -1).any():
        for at in np.flatnonzero(numbers == -1):
            if isinstance(values[at], str):
                numbers[at] = -2 - sum(ord(letter) << (7 * place) for place, letter in enumerate(values[at][:8]))
    return numbers


GET: dict[str, Callable[[Args], Any]] = {name: attrgetter(name) for name in Args.__struct_fields__}


def meta(event: Event) -> tuple[Any, Any, str, Any]:
    """(pid, tid, what, value) of a metadata event: names of processes and threads, labels of devices."""
    args = event.args or NO_ARGS
    return event.pid, event.tid, str(event.name), args.labels if args.labels is not None else args.name
