"""Parses a piece of text into columns. Each piece is parsed independently of the others."""

import contextlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Raw

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto import compiled_parser, groups
from perfscope.traces.kineto.columns import (
    NO_TIME_NS,
    encode_names,
    integers,
    nanosecond_from_text,
    nanoseconds,
)
from perfscope.traces.kineto.events import (
    NO_ARGS,
    TIMES_LIST,
    Args,
    Decoded,
    KinetoEvent,
    decode_events,
    metadata_row,
)
from perfscope.traces.kineto.layout import (
    DAY_NS,
    IMPOSSIBLE,
    MOST_METADATA,
    MUCH_METADATA,
    NAMES,
    NEGATIVE_DURATION,
    NO_OBJECTS,
    NUMBERS,
    TEXTS,
    WITH_CATEGORY,
    EventColumn,
    ParsedPiece,
)
from perfscope.traces.kineto.ranked_ids import number_of_ranked_id
from perfscope.traces.kineto.repaired_text import TRAILING

LONGEST_TEXT_ID: Final = 8
"""Characters of a process or thread id that is text."""


def parse_piece(piece: bytes | memoryview) -> ParsedPiece:
    """Return the columns of a piece of the event array, and of the text after the array where the
    piece contains its end. Raises msgspec.DecodeError.
    """
    parsed = compiled_parser.parse_compiled(piece) if compiled_parser.is_available() else None
    return parsed or parse_in_python(bytes(piece))


def parse_in_python(piece: bytes) -> ParsedPiece:
    """Return the same for any text, more slowly."""
    text, ended_at = b"[" + piece + b"]", None
    try:
        decoded = decode_events(text)
    except msgspec.DecodeError as error:
        trailing = TRAILING.search(str(error))
        if trailing is None:
            raise
        # The position in the message counts from 1, and `text` has one more byte in front.
        after_array = int(trailing[1]) - 2
        ended_at = piece.rindex(b"]", 0, after_array) + 1
        text = b"[" + piece[:ended_at]
        decoded = decode_events(text)
    events = decoded.events
    parsed = ParsedPiece(events=len(events), ended_at=ended_at)
    parsed.leave_out(decoded.no_objects, NO_OBJECTS)
    for invariant, count in decoded.violations.items():
        parsed.count_violations(invariant, count)
    times = EventTimes(decoded)
    for group, rows in rows_by_group(events).items():
        if group == groups.META:
            parsed.meta += [metadata_row(events[row]) for row in rows[:MOST_METADATA]]
            parsed.leave_out(len(rows[MOST_METADATA:]), MUCH_METADATA)
            continue
        ts, dur = times.of("ts", rows), times.of("dur", rows)
        possible = (ts != NO_TIME_NS) & (dur >= 0) & (dur < DAY_NS)
        parsed.leave_out(int((~possible).sum()), IMPOSSIBLE)
        ends_early = (dur < 0) & (dur != NO_TIME_NS) & (ts != NO_TIME_NS)
        parsed.count_violations(NEGATIVE_DURATION, int(ends_early.sum()))
        kept = [events[row] for row, is_possible in zip(rows, possible, strict=True) if is_possible]
        columns: dict[str, EventColumn] = {"ts": ts[possible], "dur": dur[possible]}
        parsed.groups[group] = columns | columns_of_events(group, kept)
    return parsed


def rows_by_group(events: list[KinetoEvent]) -> dict[str, list[int]]:
    """Return the rows of the events of each group."""
    rows: dict[str, list[int]] = {}
    rows_of_key: dict[Any, list[int] | None] = {}  # remembers the group of each (phase, category)
    for row, event in enumerate(events):
        key = (event.ph, event.cat) if event.ph != "i" else ("i", event.name)
        try:
            rows_of_group = rows_of_key[key]
        except (KeyError, TypeError):
            group = groups.group_of_event(event.ph, event.cat, event.name)
            rows_of_group = None if group is None else rows.setdefault(group, [])
            with contextlib.suppress(TypeError):  # a list instead of a name cannot be a key
                rows_of_key[key] = rows_of_group
        if rows_of_group is not None:
            rows_of_group.append(row)
    return rows


class EventTimes:
    """`ts` and `dur` of events in nanoseconds, read from their text where a float cannot hold
    them.
    """

    def __init__(self, decoded: Decoded) -> None:
        self.text, self.events, self.texts = decoded.text, decoded.events, decoded.texts
        self.as_text: dict[str, list[str]] | None = None

    def of(self, name: str, rows: list[int]) -> Ints:
        """Return `ts` or `dur` of some events; a missing `dur` is 0."""
        values = [getattr(self.events[row], name) for row in rows]
        if name == "dur":
            values = [0 if value is None else value for value in values]
        ns, inexact = nanoseconds(values)
        for at in inexact:
            ns[at] = nanosecond_from_text(self.texts_of_times()[name][rows[at]])
        return ns

    def texts_of_times(self) -> dict[str, list[str]]:
        """Return both times of every event as they are written in the text."""
        if self.as_text is None:
            text = self.text
            if self.texts is not None:
                text = b"[" + b",".join(map(bytes, self.texts)) + b"]"
            times = TIMES_LIST.decode(text)
            self.as_text = {
                "ts": [raw_text(event.ts) for event in times],
                "dur": [raw_text(event.dur) for event in times],
            }
        return self.as_text


def raw_text(raw: Raw) -> str:
    """Return the JSON text of a value."""
    return bytes(raw).decode("utf-8", "replace")


def columns_of_events(group: str, events: list[KinetoEvent]) -> dict[str, EventColumn]:
    """Return the columns of events of one group, but their times."""
    args = [event.args or NO_ARGS for event in events]
    columns: dict[str, EventColumn] = {
        "pid": ids_as_numbers([event.pid for event in events]),
        "tid": ids_as_numbers([event.tid for event in events]),
    }
    for name in NUMBERS[group]:
        values = map(GET_ARGUMENT[name], args)
        columns[name] = integers([-1 if value is None else value for value in values])
    columns["name"] = encode_names([event.name for event in events])
    if group in WITH_CATEGORY:
        columns["cat"] = encode_names([event.cat for event in events])
    for name in NAMES.get(group, ()):
        columns[name] = encode_names(list(map(GET_ARGUMENT[name], args)))
    for name in TEXTS.get(group, ()):
        columns[name] = encode_names(
            [raw_text(raw) or None for raw in map(GET_ARGUMENT[name], args)]
        )
    return columns


def ids_as_numbers(values: list[Any]) -> Ints:
    """Return process or thread ids as numbers.

    Some dialects have ids that are text. Each of these gets a number below -1; those with a rank
    have one that includes it (`merged_ranks`).
    """
    numbers = integers(values)
    if (numbers == -1).any():
        for at in np.flatnonzero(numbers == -1):
            if not isinstance(values[at], str):
                continue
            ranked = number_of_ranked_id(values[at])
            if ranked is not None:
                numbers[at] = ranked
            else:
                letters = values[at][:LONGEST_TEXT_ID]
                code = sum(ord(letter) << (7 * place) for place, letter in enumerate(letters))
                numbers[at] = -2 - code
    return numbers


GET_ARGUMENT: Final[dict[str, Callable[[Args], Any]]] = {
    name: attrgetter(name) for name in Args.__struct_fields__
}
