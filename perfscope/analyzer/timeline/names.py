"""The names on the timeline, each with the colour of what it stands for: one code for both."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.timeline.lane import COLOURS
from perfscope.traces.intervals import Ints

UNNAMED = "unnamed"


class Names:
    """Grows while lanes are built; a code stands for a text in a colour."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.colours: list[int] = []
        self.levels: set[int] = set()
        """Codes of readings of counters, whose colour only tells their tracks apart."""
        self._place: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def code(self, text: str, colour: str) -> int:
        """The code of one name."""
        place = (text, COLOURS.index(colour))
        found = self._place.get(place)
        if found is None:
            found = self._place[place] = len(self.texts)
            self.texts.append(text)
            self.colours.append(place[1])
        return found

    def of(self, names: "pd.Series[str]", colour: str) -> Ints:
        """The codes of a column of names that all have one colour."""
        column = names.astype("category").cat
        codes, texts = column.codes.to_numpy(), column.categories
        table = np.zeros(len(texts) + 1, np.int64)
        for one in np.unique(codes):
            table[one] = self.code(str(texts[one]) if one >= 0 else UNNAMED, colour)
        return table[codes]

    def colour_codes(self) -> NDArray[np.uint8]:
        """Per code the number of its colour in COLOURS."""
        return np.array(self.colours, np.uint8)
