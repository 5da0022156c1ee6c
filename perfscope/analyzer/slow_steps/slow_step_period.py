"""Slow steps that come back after a fixed number of steps, or after a fixed time."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.limits import Limits
from perfscope.analyzer.slow_steps.step_series import StepSeries
from perfscope.traces.intervals import Ints

Flags = NDArray[np.bool_]

DEVIATIONS: Final = 3.0
"""A slow step is at least this many robust standard deviations (1.4826 x MAD) above the median."""
MOST_SLOWEST: Final = 80
"""Distances between this many of the slowest steps are tried as periods."""
NEIGHBORS: Final = 6
"""Distances to this many of the next slow steps are tried: those between may be slow by chance."""
CHANCE: Final = 1e-3
"""The slow steps of a period are less likely than this by chance, over all distances tried."""
SAME_EXCESS: Final = 0.8
"""A period in steps is preferred to one in time if its slow steps have this share of the excess.
"""
PER_STEP: Final = "steps"
PER_TIME: Final = "time"


@dataclass(frozen=True)
class SlowSteps:
    """Slow steps with a period, among the steps of `series`; times in ns.

    `rows` are their rows in the series, `usual_ns` the mean of the other steps, `excess_ns` what
    each takes above it. `period` is in steps, or in ns where `unit` is PER_TIME.
    """

    series: StepSeries
    rows: Ints
    usual_ns: float
    excess_ns: Ints
    unit: str
    period: float

    @property
    def is_slow(self) -> Flags:
        """Which of all steps are the slow ones."""
        slow = np.zeros(len(self.series), bool)
        slow[self.rows] = True
        return slow

    @property
    def lost_ns(self) -> float:
        """What the slow steps take above the mean of the others."""
        return max(float(self.excess_ns.sum()), 0.0)

    @property
    def share(self) -> float:
        """The excess as a share of the time of all steps."""
        return self.lost_ns / max(float(self.series.dur_ns.sum()), 1.0)


def periodic_slow_steps_of(series: StepSeries, limits: Limits) -> SlowSteps | None:
    """Return the slow steps of a series where they have a period, else None."""
    is_slow = slow_steps_of(series, limits)
    if int(is_slow.sum()) < limits.fewest_slow_steps:
        return None
    found = []
    in_steps = rows_by_number(series, is_slow, limits)
    if in_steps is not None:
        found.append(with_excess(series, in_steps[1], PER_STEP, float(in_steps[0])))
    in_time = rows_by_time(series, is_slow, limits)
    if in_time is not None:
        found.append(with_excess(series, in_time[1], PER_TIME, in_time[0]))
    most_ns = max((slow.lost_ns for slow in found), default=0.0)
    return next((slow for slow in found if slow.lost_ns >= SAME_EXCESS * most_ns), None)


def with_excess(series: StepSeries, rows: Ints, unit: str, period: float) -> SlowSteps:
    """Return these slow steps with what they take above the mean of the others."""
    others = np.ones(len(series), bool)
    others[rows] = False
    usual = float(series.work_ns[others].mean())
    excess = (series.work_ns[rows] - usual).astype(np.int64)
    return SlowSteps(series, rows, usual, excess, unit, period)


def slow_steps_of(series: StepSeries, limits: Limits) -> Flags:
    """Return which steps are much longer than the median."""
    work = series.work_ns.astype(np.float64)
    usual = float(np.median(work))
    deviation = 1.4826 * float(np.median(np.abs(work - usual)))
    slow: Flags = work - usual > max(limits.slow_step_excess * usual, DEVIATIONS * deviation)
    return slow


def slowest_rows(series: StepSeries, is_slow: Flags) -> Ints:
    """Return the rows of the slowest steps, in order."""
    rows = np.flatnonzero(is_slow)
    order = np.argsort(-series.work_ns[rows], kind="stable")[:MOST_SLOWEST]
    return np.sort(rows[order])


def rows_by_number(series: StepSeries, is_slow: Flags, limits: Limits) -> tuple[int, Ints] | None:
    """Return a number of steps after which steps are slow again, and the rows of these steps.

    Of all distances between slow steps, and the divisors of a distance, it is the one whose steps
    take most above the median. Steps that are slow by chance, because the thread lost its core, do
    not count.
    """
    slowest = series.number[slowest_rows(series, is_slow)]
    distances = [slowest[ahead:] - slowest[:-ahead] for ahead in range(1, NEIGHBORS)]
    periods = np.unique(np.concatenate(distances))
    longest = (int(series.number[-1]) - int(series.number[0])) / (limits.fewest_slow_steps - 1)
    periods = periods[(periods >= limits.shortest_slow_period) & (periods <= longest)]
    tries = max(len(periods), 1) * len(slowest)
    found = {period: rows_due(series, is_slow, period, tries, limits) for period in periods}
    passed = [int(period) for period, due in found.items() if due is not None]
    for divisor in {
        period // factor
        for period in passed
        for factor in range(2, period // limits.shortest_slow_period + 1)
        if period % factor == 0
    }:
        found[divisor] = rows_due(series, is_slow, divisor, tries, limits)
    usual_ns = float(np.median(series.work_ns))
    due = {int(period): rows for period, rows in found.items() if rows is not None}
    if not due:
        return None
    best = max(due, key=lambda period: float((series.work_ns[due[period]] - usual_ns).sum()))
    return best, due[best]


def rows_due(
    series: StepSeries, is_slow: Flags, period: int, tries: int, limits: Limits
) -> Ints | None:
    """Return the rows of every `period`-th step, counted from the phase with the most excess.

    None where too few of these are slow, or no more than by chance in `tries` attempts.
    """
    excess = np.maximum(series.work_ns - np.median(series.work_ns), 0)
    phase = series.number % period
    due = np.flatnonzero(phase == int(np.argmax(np.bincount(phase, weights=excess))))
    hits = int(is_slow[due].sum())
    if hits < limits.fewest_slow_steps or hits < limits.due_slow_steps * len(due):
        return None
    by_chance = tries * chance_of_hits(hits, len(due), float(is_slow.mean()))
    return due if by_chance <= CHANCE else None


def chance_of_hits(hits: int, due: int, rate: float) -> float:
    """Return the probability of at least so many slow steps among those due, at a rate of them."""
    if rate >= 1.0:
        return 1.0
    counts = np.arange(hits, due + 1)
    log_ways = [
        math.lgamma(due + 1) - math.lgamma(count + 1) - math.lgamma(due - count + 1)
        for count in counts.tolist()
    ]
    log_each = counts * math.log(rate) + (due - counts) * math.log1p(-rate)
    return float(np.exp(np.array(log_ways) + log_each).sum())


def rows_by_time(series: StepSeries, is_slow: Flags, limits: Limits) -> tuple[float, Ints] | None:
    """Return a time after which steps are slow again, in ns, and the rows of these steps.

    It elapses within a step, so that distances differ by the length of steps. The slowest steps
    are taken, as many as have regular distances.
    """
    rows = slowest_rows(series, is_slow)
    order = rows[np.argsort(-series.work_ns[rows], kind="stable")]
    shortest_ns = limits.shortest_slow_period * float(np.median(series.work_ns))
    for count in range(len(order), limits.fewest_in_time - 1, -1):
        chosen = np.sort(order[:count])
        begin = series.begin_ns[chosen].astype(np.float64)
        distances = np.diff(begin)
        period = float(np.median(distances))
        multiples = np.maximum(np.round(distances / period), 1.0)
        period = float(distances.sum() / multiples.sum())
        is_multiple = np.abs(distances - multiples * period) <= (
            limits.time_period_tolerance * period
        )
        regular = float((is_multiple & (multiples <= 1.0)).mean())
        if period >= shortest_ns and regular >= limits.regular_distances:
            return period, chosen
    return None
