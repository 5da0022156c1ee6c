"""One row of the timeline: events that never overlap, in columns that any window is drawn from.

Besides `ts` an event has one packed key, `dur << bits | name`, so that the longest event of a pixel
and its name are a maximum. A running sum of durations gives the busy share of a pixel as a
difference. The maxima of the key per 8 and per 64 events serve windows with very many events.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.traces.intervals import Ints

BLOCKS = (8, 64)
EVENT_COLORS = (*CATEGORY_IDS, "input_dataset", "input_collate", "step_0", "step_1")
"""The colors of events: a category of the time budget, a half of a fetch, or neutral (steps,
ranges, functions).
"""


@dataclass(frozen=True)
class Events:
    """Events of one row or of several, before they are laid out.

    int64 ns, codes into `Names`. `source` is the number in track.SOURCES of the table (or fact)
    that an event is from, `row` its position there, `level` that of a counter, in 255ths of its
    limit.
    """

    ts: Ints
    dur: Ints
    code: Ints
    source: NDArray[np.uint8]
    row: NDArray[np.int32]
    level: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, rows: NDArray[np.bool_] | Ints) -> "Events":
        """Return some of the events, without levels."""
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


def concatenate_events(several: list[Events]) -> Events:
    """Return all events, in the order of the list."""
    return Events(
        np.concatenate([NOTHING.ts, *(events.ts for events in several)]),
        np.concatenate([NOTHING.dur, *(events.dur for events in several)]),
        np.concatenate([NOTHING.code, *(events.code for events in several)]),
        np.concatenate([NOTHING.source, *(events.source for events in several)]),
        np.concatenate([NOTHING.row, *(events.row for events in several)]),
    )


def merge_events(several: list[Events]) -> Events:
    """Return all events in order of time, the longer first where two begin together."""
    events = concatenate_events(several)
    return events.where(np.lexsort((-events.dur, events.ts)))


@dataclass(frozen=True)
class Lane:
    """One row: sorted disjoint events.

    `total[i]` is the ns of all events before event i, `blocks` are maxima of the key per BLOCKS
    events, `codes` the names of this lane (number in the key -> code in `Names`), `level` those of
    a counter's lane.
    """

    ts: Ints
    key: Ints
    total: Ints
    blocks: tuple[Ints, ...]
    bits: int
    codes: NDArray[np.int32]
    source: NDArray[np.uint8]
    row: NDArray[np.int32]
    level: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def mask(self) -> int:
        """The bits of the key that hold the name."""
        return (1 << self.bits) - 1

    def dur(self, part: slice) -> Ints:
        """Return durations, ns."""
        return self.key[part] >> self.bits

    def code(self, part: slice) -> NDArray[np.int32]:
        """Return the codes of names."""
        codes: NDArray[np.int32] = self.codes[self.key[part] & self.mask]
        return codes

    def window(self, begin: int, end: int) -> slice:
        """Return the events that overlap [begin, end)."""
        first = max(int(np.searchsorted(self.ts, begin, "right")) - 1, 0)
        if first < len(self.ts):
            reach = int(self.ts[first]) + int(self.key[first] >> self.bits)
            if self.ts[first] < begin and reach <= begin:
                first += 1
        return slice(first, max(int(np.searchsorted(self.ts, end, "left")), first))

    def at(self, instant: int) -> int | None:
        """Return the event at an instant, None in a gap."""
        found = int(np.searchsorted(self.ts, instant, "right")) - 1
        if found < 0 or int(self.ts[found]) + int(self.key[found] >> self.bits) < instant:
            return None
        return found


def lane(events: Events) -> Lane:
    """Return the lane of sorted disjoint events."""
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
