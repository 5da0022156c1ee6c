"""In which state the thread of a loop was when its stacks were sampled.

Stacks and states are sampled by different programs, tens of milliseconds apart. Steps repeat, so a
stack gets the states that were sampled at the same point of other steps.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.loop.loop_samples import LoopSamples, rows_of_loop
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints, inside
from perfscope.traces.trace import Trace

NOT_BLOCKED: Final = ("running", "gil")
NEAREST: Final = 7
"""States per stack: an odd number, so that most of them decide, and few enough to be near."""


@dataclass(frozen=True)
class SampledStates:
    """`counts[state][code]`: how many stacks with this code were sampled in this state, estimated.

    Codes are numbered as in the `LoopSamples`. Empty without samples of both.
    """

    counts: dict[str, NDArray[np.float64]]

    def blocked_in(self, wanted: NDArray[np.bool_]) -> dict[str, float]:
        """Return the number of stacks of the wanted code in each state that blocks the thread."""
        return {
            state: float(counts[wanted].sum())
            for state, counts in self.counts.items()
            if state not in NOT_BLOCKED and counts[wanted].any()
        }


def sampled_states(trace: Trace, samples: LoopSamples) -> SampledStates:
    """Return the states in which each code was sampled."""
    rows = rows_of_loop(trace, "thread_states", samples)
    if rows is None or not len(samples.ts):
        return SampledStates({})
    rows = rows[inside(samples.spans, column(rows, "ts"))]
    if not len(rows):
        return SampledStates({})
    places = place_in_step(trace, samples.process, column(rows, "ts"))
    nearest = nearest_places(places, place_in_step(trace, samples.process, samples.ts))
    names = rows["state"].astype(str).to_numpy()
    weight, codes = 1.0 / nearest.shape[1], len(samples.codes)
    counts: dict[str, NDArray[np.float64]] = {}
    for state in np.unique(names):
        share = (names[nearest] == state).sum(axis=1) * weight
        counts[str(state)] = np.bincount(samples.code, share, codes).astype(np.float64)
    return SampledStates(counts)


def place_in_step(trace: Trace, process: int, ts: Ints) -> Ints:
    """Return the time from the begin of its step to each instant, ns.

    Instants outside of all steps keep the time since the last step began; before the first one, and
    without steps, the place is the instant itself.
    """
    rows = trace.fact(steps)
    begin = np.sort(column(rows[rows["process"] == process], "ts"))
    which = np.searchsorted(begin, ts, side="right") - 1
    places: Ints = np.where(which >= 0, ts - np.append(begin, 0)[which], ts)
    return places


def nearest_places(places: Ints, wanted: Ints) -> NDArray[np.int64]:
    """Return the positions of the NEAREST places (fewer if there are fewer) to each wanted one."""
    order = np.argsort(places, kind="stable")
    ordered, count = places[order], min(NEAREST, len(places))
    first = np.clip(np.searchsorted(ordered, wanted) - count, 0, len(places) - count)
    last = np.clip(np.searchsorted(ordered, wanted), 0, len(places) - count)
    best = first.copy()
    for shift in range(count + 1):
        begin = np.minimum(first + shift, last)
        nearer = reach(ordered, begin, count, wanted) < reach(ordered, best, count, wanted)
        best = np.where(nearer, begin, best)
    found: NDArray[np.int64] = order[best[:, None] + np.arange(count)]
    return found


def reach(ordered: Ints, begin: Ints, count: int, wanted: Ints) -> Ints:
    """Return how far the farthest of `count` places from position `begin` is from each wanted."""
    farthest: Ints = np.maximum(
        np.abs(ordered[begin] - wanted), np.abs(ordered[begin + count - 1] - wanted)
    )
    return farthest
