"""Numbers read from rows that hold many, one entry for each, in 36 bytes: a row of JSON is far
larger as Python objects.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.run.cells import is_number

MOST_NAMES: Final = 1 << 16
"""Different names beyond are left out: a name costs more than its numbers."""


@dataclass
class Texts:
    """Different texts, numbered in the order in which they came."""

    places: dict[str, int] = field(default_factory=dict)

    def code(self, text: str) -> int | None:
        """Return the number of a text, None where there are too many."""
        found = self.places.get(text)
        if found is None and len(self.places) < MOST_NAMES:
            found = self.places[text] = len(self.places)
        return found

    def category(self, codes: "array[int]") -> "pd.Categorical[str]":
        """Return the column of these codes, -1 for none."""
        values: Any = np.frombuffer(codes, np.int32)
        return pd.Categorical.from_codes(
            values, categories=pd.Index(list(self.places), dtype=object)
        )


@dataclass
class Readings:
    """Numbers with the key of their row (one or two whole numbers), their time and their name."""

    first: "array[int]" = field(default_factory=lambda: array("q"))
    second: "array[int]" = field(default_factory=lambda: array("q"))
    ts: "array[int]" = field(default_factory=lambda: array("q"))
    names: "array[int]" = field(default_factory=lambda: array("i"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    texts: Texts = field(default_factory=Texts)

    def add(self, key: tuple[int, int], ts: int, numbers: Iterable[tuple[str, Any]]) -> None:
        """Add the numbers among the members of one row."""
        for name, value in numbers:
            code = self.texts.code(name) if is_number(value) else None
            if code is not None:
                self.first.append(key[0])
                self.second.append(key[1])
                self.ts.append(ts)
                self.names.append(code)
                self.values.append(value)

    def __len__(self) -> int:
        return len(self.ts)

    def columns(self) -> dict[str, Any]:
        """Return the columns `ts`, `name` and `value`."""
        value = np.frombuffer(self.values, np.float64)
        return {
            "ts": whole_numbers(self.ts),
            "name": self.texts.category(self.names),
            "value": value,
        }


def whole_numbers(values: "array[int]") -> Ints:
    """Return an array of int64 as numpy's, without a copy."""
    return np.frombuffer(values, np.int64)
