"""One step for the windows of all ranks of a job, agreed ahead: each rank counts its updates from
the moment it was entered.

Ranks that reduce their gradients together end each update at about the same time, so the updates of
two of them are paired by when they ended. Where they cannot be paired there is no such step.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

AHEAD_NS = 2_000_000_000
"""Records come up to a second late, and an order takes up to half a second to be seen."""
PAIRS = 24
FEWEST_PAIRS = 4
MOST_KEPT = 512
AGREEING = 0.8
"""So large a share of the pairs must show the same difference: else these ranks do not go in step.
"""


@dataclass
class Updates:
    """The updates of one rank: when they ended (CLOCK_MONOTONIC, ns, in order), and the number of
    one that was told.
    """

    ends: list[int] = field(default_factory=list)
    told: tuple[int, int] | None = None

    def ended(self, at_ns: int) -> None:
        self.ends.append(at_ns)
        if len(self.ends) > 2 * MOST_KEPT:
            del self.ends[:-MOST_KEPT]

    def last_number(self) -> int | None:
        """The number of the last of `ends`. The told one is the first that ended no sooner than it
        was told to.
        """
        if self.told is None or not self.ends or self.ends[-1] < self.told[1]:
            return None
        number, at_ns = self.told
        later = sum(end > at_ns for end in self.ends)
        return number + later - 1


def difference(one: Updates, other: Updates) -> int | None:
    """By how much the numbers of `other` are ahead of those of `one`, None where most pairs do not
    agree.
    """
    numbers = (one.last_number(), other.last_number())
    if numbers[0] is None or numbers[1] is None:
        return None
    shown: Counter[int] = Counter()
    for back, end in enumerate(reversed(one.ends[-PAIRS:])):
        at = nearest(other.ends, end)
        shown[(numbers[1] - (len(other.ends) - 1 - at)) - (numbers[0] - back)] += 1
    (most, times), count = shown.most_common(1)[0], sum(shown.values())
    return most if count >= FEWEST_PAIRS and times >= AGREEING * count else None


def nearest(ends: Sequence[int], at_ns: int) -> int:
    return min(range(len(ends)), key=lambda place: abs(ends[place] - at_ns))


def agreed(ranks: Sequence[Updates]) -> list[int] | None:
    """A number of an update still to come for each rank, the same step for all; None where there is
    none.
    """
    first = ranks[0]
    number, ends = first.last_number(), first.ends
    if number is None or len(ends) < FEWEST_PAIRS:
        return None
    period_ns = (ends[-1] - ends[-FEWEST_PAIRS]) / (FEWEST_PAIRS - 1)
    ahead = 1 + math.ceil(AHEAD_NS / max(period_ns, 1.0))
    others = [difference(first, other) for other in ranks[1:]]
    return None if None in others else [number + ahead + (one or 0) for one in (0, *others)]
