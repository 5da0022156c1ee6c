"""One row of the timeline: events that never overlap, in the columns from which every window is
answered.

Beside `ts` an event has one packed key, `dur << bits | name`, so that the longest event of a pixel,
and with it its name, is a maximum; a running sum of durations, so that the busy share of a pixel is
a difference; and the maxima of the key per 8 and per 64 events, for windows with very many.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.traces.intervals import Ints

BLOCKS = (8, 64)
COLOURS = (*CATEGORY_IDS, "input_dataset", "input_collate", "step_0", "step_1")
"""What an event is coloured by: a category of the time budget, a half of a fetch, or neutral
(steps, ranges, functions).
"""


@dataclass(frozen=True)
class Events:
    """Columns of the events of one row or of several, before they are laid out: int64 ns, codes
    into `Names`.
    """

    ts: Ints
    dur: Ints
    code: Ints
    source: NDArray[np.uint8]  # number in lanes.SOURCES of the table (or fact) the event comes from
    row: NDArray[np.int32]  # its position there
    level: NDArray[np.uint8] | None = None  # of a counter: 255ths of its limit

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, rows: NDArray[np.bool_] | Ints) -> "Events":
        """Some of them; not of a counter's."""
        return Events(
            self.ts[rows], self.dur[rows], self.code[rows], self.source[rows], self.row[rows]
        )


NOTHING = Events(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.uint8),
    np.empty(0, np.int32),
)


def together(several: list[Events]) -> Events:
    """All of them, one behind the other."""
    return Events(
        np.concatenate([NOTHING.ts, *(one.ts for one in several)]),
        np.concatenate([NOTHING.dur, *(one.dur for one in several)]),
        np.concatenate([NOTHING.code, *(one.code for one in several)]),
        np.concatenate([NOTHING.source, *(one.source for one in several)]),
        np.concatenate([NOTHING.row, *(one.row for one in several)]),
    )


def joined(several: list[Events]) -> Events:
    """All of them in order of time, the longer first where two begin together."""
    both = together(several)
    return both.where(np.lexsort((-both.dur, both.ts)))


@dataclass(frozen=True)
class Lane:
    """One row: sorted disjoint events."""

    ts: Ints
    key: Ints
    total: Ints  # total[i]: ns of all events before event i
    blocks: tuple[Ints, ...]  # maxima of the key per BLOCKS events
    bits: int
    codes: NDArray[np.int32]  # the names of this lane: number in the key -> code in `Names`
    source: NDArray[np.uint8]
    row: NDArray[np.int32]
    level: NDArray[np.uint8] | None = None  # of a counter's lane, an entry an event

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1

    def dur(self, part: slice) -> Ints:
        """Durations, ns."""
        return self.key[part] >> self.bits

    def code(self, part: slice) -> NDArray[np.int32]:
        """Codes of names."""
        codes: NDArray[np.int32] = self.codes[self.key[part] & self.mask]
        return codes

    def window(self, begin: int, end: int) -> slice:
        """The events that touch [begin, end)."""
        first = max(int(np.searchsorted(self.ts, begin, "right")) - 1, 0)
        if first < len(self.ts):
            reach = int(self.ts[first]) + int(self.key[first] >> self.bits)
            if self.ts[first] < begin and reach <= begin:
                first += 1
        return slice(first, max(int(np.searchsorted(self.ts, end, "left")), first))

    def at(self, instant: int) -> int | None:
        """The event that holds an instant."""
        found = int(np.searchsorted(self.ts, instant, "right")) - 1
        if found < 0 or int(self.ts[found]) + int(self.key[found] >> self.bits) < instant:
            return None
        return found


def lane(events: Events) -> Lane:
    """The lane of sorted disjoint events."""
    used = np.flatnonzero(np.bincount(events.code)) if len(events) else np.empty(0, np.int64)
    bits = max(len(used) - 1, 1).bit_length()
    local = np.zeros(int(used[-1]) + 1 if len(used) else 0, np.int64)
    local[used] = np.arange(len(used))
    dur = np.clip(events.dur, 0, (1 << (62 - bits)) - 1)
    key = (dur << bits) | local[events.code]
    total = np.concatenate(([0], np.cumsum(dur)))
    blocks = tuple(
        np.maximum.reduceat(key, np.arange(0, len(key), size)) if len(key) else key
        for size in BLOCKS
    )
    codes = used.astype(np.int32)
    return Lane(events.ts, key, total, blocks, bits, codes, events.source, events.row, events.level)
