"""The groups of events of a whole file, joined from its pieces: one array per column, and names
numbered once per file.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.columns import CodedNames
from perfscope.traces.kineto.layout import EventColumn, ParsedPiece


class EventGroup:
    """The columns of one group of events. A column that is absent reads as empty."""

    def __init__(self, columns: dict[str, EventColumn]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.numbers("ts"))

    def numbers(self, name: str) -> Ints:
        """Return a column of int64."""
        column = self.columns.get(name)
        return column if isinstance(column, np.ndarray) else np.empty(0, np.int64)

    def names(self, name: str) -> CodedNames:
        """Return a column of names."""
        column = self.columns.get(name)
        return column if isinstance(column, CodedNames) else CodedNames(np.empty(0, np.int32), [])

    def where(self, mask: Any) -> "EventGroup":
        """Return the events that a bool mask or an index selects."""
        return EventGroup(
            {name: select_rows(column, mask) for name, column in self.columns.items()}
        )


def select_rows(column: EventColumn, mask: Any) -> EventColumn:
    """Return the values of a column that a mask or an index selects."""
    if isinstance(column, CodedNames):
        return CodedNames(column.codes[mask], column.names)
    numbers: Ints = column[mask]
    return numbers


def joined_groups(groups: list[EventGroup]) -> EventGroup:
    """Return several groups with the same columns as one."""
    with_rows = [group.columns for group in groups if len(group)]
    if not with_rows:
        return EventGroup({})
    columns = {}
    for name in with_rows[0]:
        columns[name] = joined_columns([group[name] for group in with_rows if name in group])
    return EventGroup(columns)


def take_group(pieces: list[ParsedPiece], name: str) -> EventGroup:
    """Return one group of all pieces, and remove it from the pieces to free memory."""
    with_group = [piece for piece in pieces if name in piece.groups]
    return joined_groups([EventGroup(piece.groups.pop(name)) for piece in with_group])


def joined_columns(columns: list[EventColumn]) -> EventColumn:
    """Return several columns of one kind as one; equal names get one code."""
    coded = [column for column in columns if isinstance(column, CodedNames)]
    if not coded:
        return np.concatenate([column for column in columns if not isinstance(column, CodedNames)])
    code_of_name: dict[str, int] = {}
    codes = []
    for column in coded:
        new_codes = [code_of_name.setdefault(name, len(code_of_name)) for name in column.names]
        codes.append(np.array([*new_codes, -1], np.int32)[column.codes])
    return CodedNames(np.concatenate(codes), list(code_of_name))


def summed_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sums by key."""
    sums: dict[str, int] = {}
    for part in counts:
        for key, count in part.items():
            sums[key] = sums.get(key, 0) + count
    return sums
