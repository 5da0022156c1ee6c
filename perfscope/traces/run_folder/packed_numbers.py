"""Numbers that were read from JSON rows, in 36 bytes each. As Python objects, rows would be far
larger.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.run_folder.cell_types import is_number

MOST_NAMES: Final = 1 << 16
"""Different names. Values under further names are left out: a name takes more memory than its
values.
"""


@dataclass
class TextCodes:
    """Different texts, numbered in the order in which they appear."""

    code_of_text: dict[str, int] = field(default_factory=dict)

    def code(self, text: str) -> int | None:
        """Return the number of a text, None for a new text when there are too many."""
        code = self.code_of_text.get(text)
        if code is None and len(self.code_of_text) < MOST_NAMES:
            code = self.code_of_text[text] = len(self.code_of_text)
        return code

    def category(self, codes: "array[int]") -> "pd.Categorical[str]":
        """Return these codes as a column of a table, -1 for no text."""
        values: Any = np.frombuffer(codes, np.int32)
        texts = pd.Index(list(self.code_of_text), dtype=object)
        return pd.Categorical.from_codes(values, categories=texts)


@dataclass
class Readings:
    """Numbers, each with the key of its row (one or two whole numbers), its time and its name."""

    first: "array[int]" = field(default_factory=lambda: array("q"))
    second: "array[int]" = field(default_factory=lambda: array("q"))
    ts: "array[int]" = field(default_factory=lambda: array("q"))
    names: "array[int]" = field(default_factory=lambda: array("i"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    texts: TextCodes = field(default_factory=TextCodes)

    def add(self, key: tuple[int, int], ts: int, values: Iterable[tuple[str, Any]]) -> None:
        """Add the (name, value) pairs of a row whose values are numbers."""
        for name, value in values:
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
        return {
            "ts": int64_array(self.ts),
            "name": self.texts.category(self.names),
            "value": np.frombuffer(self.values, np.float64),
        }


def int64_array(values: "array[int]") -> Ints:
    """Return an array as numpy's int64, without a copy."""
    return np.frombuffer(values, np.int64)
