"""The step at which the windows of all ranks of a job begin, chosen in advance.

Each rank counts its optimizer updates from when it was entered, so the same update has different
numbers. Ranks that reduce their gradients together end each update at about the same time, so the
updates of two ranks are matched by their end. If they cannot be matched there is no common step.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

# Records arrive up to a second late, and an order is read up to half a second late.
AHEAD_NS = 2_000_000_000
PAIRS = 24
FEWEST_PAIRS = 4
MOST_KEPT = 512
# This share of the pairs must show the same difference; else the ranks do not run in step.
AGREEING = 0.8


@dataclass
class RankUpdates:
    """The optimizer updates of one rank.

    ends: when they ended (CLOCK_MONOTONIC, ns), in order. reported: the (number, end) of one update
    as the probe has reported it.
    """

    ends: list[int] = field(default_factory=list)
    reported: tuple[int, int] | None = None

    def add(self, ended_ns: int) -> None:
        """Add the end of one update."""
        self.ends.append(ended_ns)
        if len(self.ends) > 2 * MOST_KEPT:
            del self.ends[:-MOST_KEPT]

    def last_number(self) -> int | None:
        """Return the number of the last of `ends`, None if unknown.

        The reported update is the first of `ends` that is not before its reported end.
        """
        if self.reported is None or not self.ends or self.ends[-1] < self.reported[1]:
            return None
        number, ended_ns = self.reported
        later = sum(end > ended_ns for end in self.ends)
        return number + later - 1


def number_difference(first: RankUpdates, other: RankUpdates) -> int | None:
    """Return by how much the numbers of `other` are higher than those of `first`.

    Returns None if the numbers are unknown or most pairs do not agree.
    """
    first_number, other_number = first.last_number(), other.last_number()
    if first_number is None or other_number is None:
        return None
    differences: Counter[int] = Counter()
    for back, end in enumerate(reversed(first.ends[-PAIRS:])):
        other_back = len(other.ends) - 1 - nearest_end(other.ends, end)
        differences[(other_number - other_back) - (first_number - back)] += 1
    difference, times = differences.most_common(1)[0]
    count = sum(differences.values())
    return difference if count >= FEWEST_PAIRS and times >= AGREEING * count else None


def nearest_end(ends: Sequence[int], instant_ns: int) -> int:
    """Return the position of the end that is nearest to `instant_ns`."""
    return min(range(len(ends)), key=lambda place: abs(ends[place] - instant_ns))


def common_step(ranks: Sequence[RankUpdates]) -> list[int] | None:
    """Return, for each rank, its number of the same future update; None if there is none."""
    first = ranks[0]
    number, ends = first.last_number(), first.ends
    if number is None or len(ends) < FEWEST_PAIRS:
        return None
    period_ns = (ends[-1] - ends[-FEWEST_PAIRS]) / (FEWEST_PAIRS - 1)
    ahead = 1 + math.ceil(AHEAD_NS / max(period_ns, 1.0))
    differences = [0]
    for other in ranks[1:]:
        difference = number_difference(first, other)
        if difference is None:
            return None
        differences.append(difference)
    return [number + ahead + difference for difference in differences]
