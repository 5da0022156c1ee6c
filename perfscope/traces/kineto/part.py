"""A piece of text to columns: what each process or thread does with each piece, on its own."""

import contextlib
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import compiled_part, groups
from perfscope.traces.kineto.columns import BAD, coded, exactly, integers, nanoseconds
from perfscope.traces.kineto.events import (
    EXACT,
    NO_ARGS,
    TRAILING,
    Args,
    Event,
    decoded,
    mended,
    meta,
)
from perfscope.traces.kineto.layout import (
    DAY_NS,
    IMPOSSIBLE,
    NAMES,
    NO_OBJECTS,
    NUMBERS,
    TEXTS,
    WITH_CATEGORY,
    Column,
    Part,
)


def part_of(piece: bytes | memoryview) -> Part:
    """The columns of a piece of the event array, with or without what follows the array. Raises
    msgspec.DecodeError.
    """
    part = compiled_part.compiled_part(piece) if compiled_part.is_there() else None
    return part or python_part(bytes(piece))


def python_part(piece: bytes) -> Part:
    """The same for any text, slower."""
    text, ended_at = b"[" + piece + b"]", None
    try:
        events, texts, no_objects = decoded(text)
    except msgspec.DecodeError as error:
        trailing = TRAILING.search(str(error))
        if trailing is None:
            raise
        # It counts from 1, in a text that is one byte longer in front: what it names is at that
        # place less two.
        ended_at = piece.rindex(b"]", 0, int(trailing[1]) - 2)
        text = b"[" + piece[: ended_at + 1]
        ended_at += 1
        events, texts, no_objects = decoded(text)
    part = Part(events=len(events), ended_at=ended_at)
    part.leave_out(no_objects, NO_OBJECTS)
    times = Times(text, events, texts)
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
            with contextlib.suppress(TypeError):  # a list where a name should be
                known[key] = mine
        if mine is not None:
            mine.append(at)
    return rows


class Times:
    """`ts` and `dur` of events in ns; where a float cannot hold them to the nanosecond, from their
    text.
    """

    def __init__(self, text: bytes, events: list[Event], texts: Sequence[Any] | None) -> None:
        self.text, self.events, self.texts = text, events, texts
        self.raws: dict[str, list[str]] | None = None

    def of(self, name: str, rows: list[int]) -> Ints:
        """One of the two for some events; a missing `dur` is 0."""
        values = [getattr(self.events[at], name) for at in rows]
        if name == "dur":
            values = [0 if value is None else value for value in values]
        ns, inexact = nanoseconds(values)
        for at in inexact:
            ns[at] = exactly(self.written()[name][rows[at]])
        return ns

    def written(self) -> dict[str, list[str]]:
        """Both of every event as they stand in the text."""
        if self.raws is None:
            text = (
                self.text if self.texts is None else b"[" + b",".join(map(bytes, self.texts)) + b"]"
            )
            try:
                raws = EXACT.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raws = EXACT.decode(mended(text))
            self.raws = {
                "ts": [written(raw.ts) for raw in raws],
                "dur": [written(raw.dur) for raw in raws],
            }
        return self.raws


def written(raw: Raw) -> str:
    return bytes(raw).decode("utf-8", "replace")


def columns(
    group: str, events: list[Event], part: Part, times: Times, rows: list[int]
) -> dict[str, Column]:
    """The columns of one group, without the events whose times are impossible."""
    ts, dur = times.of("ts", rows), times.of("dur", rows)
    good = (ts != BAD) & (dur >= 0) & (dur < DAY_NS)
    if not good.all():
        part.leave_out(int((~good).sum()), IMPOSSIBLE)
        events = [event for event, fine in zip(events, good, strict=True) if fine]
        ts, dur = ts[good], dur[good]
    args = [event.args or NO_ARGS for event in events]
    made: dict[str, Column] = {"ts": ts, "dur": dur, "pid": ids([event.pid for event in events])}
    made["tid"] = ids([event.tid for event in events])
    for name in NUMBERS[group]:
        made[name] = integers([-1 if value is None else value for value in map(GET[name], args)])
    made["name"] = coded([event.name for event in events])
    if group in WITH_CATEGORY:
        made["cat"] = coded([event.cat for event in events])
    for name in NAMES.get(group, ()):
        made[name] = coded(list(map(GET[name], args)))
    for name in TEXTS.get(group, ()):
        made[name] = coded(
            [bytes(value).decode("utf-8", "replace") or None for value in map(GET[name], args)]
        )
    return made


def ids(values: list[Any]) -> Ints:
    """Process and thread ids; text (a pid of another dialect) gets a number of its own below -1."""
    numbers = integers(values)
    if (numbers == -1).any():
        for at in np.flatnonzero(numbers == -1):
            if isinstance(values[at], str):
                numbers[at] = -2 - sum(
                    ord(letter) << (7 * place) for place, letter in enumerate(values[at][:8])
                )
    return numbers


GET: dict[str, Callable[[Args], Any]] = {name: attrgetter(name) for name in Args.__struct_fields__}
