"""The names on the timeline with their colors: one code for both."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.timeline.lane import EVENT_COLORS
from perfscope.traces.intervals import Ints

UNNAMED = "unnamed"


class Names:
    """Texts in a color by their code; it grows while lanes are built."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.colors: list[int] = []
        self.levels: set[int] = set()
        """Codes of readings of counters, whose color only distinguishes their tracks."""
        self._place: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def code(self, text: str, color: str) -> int:
        """Return the code of a name in a color."""
        place = (text, EVENT_COLORS.index(color))
        found = self._place.get(place)
        if found is None:
            found = self._place[place] = len(self.texts)
            self.texts.append(text)
            self.colors.append(place[1])
        return found

    def of(self, names: "pd.Series[str]", color: str) -> Ints:
        """Return the codes of a column of names that all have one color."""
        column = names.astype("category").cat
        codes, texts = column.codes.to_numpy(), column.categories
        table = np.zeros(len(texts) + 1, np.int64)
        for number in np.unique(codes):
            text = str(texts[number]) if number >= 0 else UNNAMED
            table[number] = self.code(text, color)
        return table[codes]

    def color_codes(self) -> NDArray[np.uint8]:
        """Return, per code, the number of its color in EVENT_COLORS."""
        return np.array(self.colors, np.uint8)
