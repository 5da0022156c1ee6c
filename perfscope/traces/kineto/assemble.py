"""The parts of a file put together: one array a column, names numbered once for the whole file."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.columns import Coded
from perfscope.traces.kineto.layout import Column, Part


class Group:
    """The columns of one group of events of a whole file; absent ones are as if there were no
    events.
    """

    def __init__(self, columns: dict[str, Column]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.numbers("ts"))

    def numbers(self, name: str) -> Ints:
        """One int64 column."""
        found = self.columns.get(name)
        return found if isinstance(found, np.ndarray) else np.empty(0, np.int64)

    def names(self, name: str) -> Coded:
        """One column of names."""
        found = self.columns.get(name)
        return found if isinstance(found, Coded) else Coded(np.empty(0, np.int32), [])

    def where(self, mask: Any) -> "Group":
        """The events of a bool mask or an index."""
        return Group({name: taken(column, mask) for name, column in self.columns.items()})


def taken(column: Column, mask: Any) -> Column:
    return Coded(column.codes[mask], column.names) if isinstance(column, Coded) else column[mask]


def joined(groups: list[Group]) -> Group:
    """Several groups with the same columns as one."""
    some = [group.columns for group in groups if len(group)]
    return Group(
        {
            name: together([columns[name] for columns in some if name in columns])
            for name in (some or [{}])[0]
        }
    )


def assembled(parts: list[Part], name: str) -> Group:
    """One group of all parts, which lose it."""
    return joined([Group(part.groups.pop(name)) for part in parts if name in part.groups])


def together(columns: list[Column]) -> Column:
    coded = [column for column in columns if isinstance(column, Coded)]
    if not coded:
        return np.concatenate([column for column in columns if not isinstance(column, Coded)])
    places: dict[str, int] = {}
    codes = []
    for column in coded:
        place = [places.setdefault(value, len(places)) for value in column.names]
        codes.append(np.array([*place, -1], np.int32)[column.codes])
    return Coded(np.concatenate(codes), list(places))


def totals(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sums by key."""
    summed: dict[str, int] = {}
    for one in counts:
        for key, count in one.items():
            summed[key] = summed.get(key, 0) + count
    return summed
