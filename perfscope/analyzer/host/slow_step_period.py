"""Slow steps that come back after a fixed number of steps, or after a fixed time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.host.step_series import StepSeries
from perfscope.analyzer.limits import Limits
from perfscope.traces.intervals import Ints

Flags = NDArray[np.bool_]

DEVIATIONS: Final = 6.0
"""A slow step is so many robust standard deviations (1.4826 x MAD) above the median."""
LARGE: Final = 0.25
"""Slow steps with less than this share of the excess of a usual one of them are noise."""
PER_STEP: Final = "steps"
PER_TIME: Final = "time"


@dataclass(frozen=True)
class SlowSteps:
    """Slow steps with a period, among the steps of `series`; times in ns.

    `rows` are their rows in the series, `usual_ns` the median of all steps, `excess_ns` what the
    slow steps take above it. `period` is in steps, or in ns where `unit` is PER_TIME.
    """

    series: StepSeries
    rows: Ints
    usual_ns: float
    excess_ns: Ints
    unit: str
    period: float

    @property
    def is_slow(self) -> Flags:
        """Which of all steps are slow."""
        slow = np.zeros(len(self.series), bool)
        slow[self.rows] = True
        return slow

    @property
    def share(self) -> float:
        """The excess as a share of the time of all steps."""
        return float(self.excess_ns.sum()) / float(self.series.dur_ns.sum())

    @property
    def steps_between(self) -> float:
        """The steps from the begin of a slow one to that of the next, on average."""
        number = self.series.number[self.rows]
        return float(number[-1] - number[0]) / max(self.events - 1, 1)

    @property
    def events(self) -> int:
        """The number of slow steps; neighbors count once."""
        return int((np.diff(self.series.number[self.rows]) > 1).sum()) + 1


def periodic_slow_steps_of(series: StepSeries, limits: Limits) -> SlowSteps | None:
    """Return the slow steps of a series where they have a period, else None."""
    work = series.work_ns.astype(np.float64)
    usual = float(np.median(work))
    deviation = 1.4826 * float(np.median(np.abs(work - usual)))
    excess = work - usual
    slow = np.flatnonzero(
        (excess > DEVIATIONS * deviation) & (excess > limits.slow_step_excess * usual)
    )
    if len(slow) < limits.fewest_slow_steps:
        return None
    slow = slow[excess[slow] >= LARGE * float(np.quantile(excess[slow], 0.75))]
    first = slow[np.concatenate(([True], np.diff(series.number[slow]) > 1))]
    if len(first) < limits.fewest_slow_steps:
        return None
    found = period_in_steps(series.number[first], limits) or period_in_time(
        series.begin_ns[first], usual, limits
    )
    if found is None or not is_complete(series, first, found, limits):
        return None
    unit, period = found
    return SlowSteps(series, slow, usual, excess[slow].astype(np.int64), unit, period)


def period_in_steps(number: Ints, limits: Limits) -> tuple[str, float] | None:
    """Return the unit and the number of steps from slow step to slow step, None where it varies.

    Some slow steps may be missing, but distances are exact multiples: it is a constant of the
    program.
    """
    distances = np.diff(number)
    period = int(np.median(distances))
    if period < limits.shortest_slow_period:
        return None
    is_multiple = distances % period == 0
    return (PER_STEP, float(period)) if has_regular_distances(is_multiple, limits) else None


def period_in_time(begin_ns: Ints, usual_ns: float, limits: Limits) -> tuple[str, float] | None:
    """Return the unit and the time from slow step to slow step, None where it varies.

    A time ends within a step, so distances differ by the length of steps.
    """
    distances = np.diff(begin_ns).astype(np.float64)
    period = float(np.median(distances))
    if period < limits.shortest_slow_period * usual_ns:
        return None
    counts = np.maximum(np.round(distances / period), 1.0)
    period = float(distances.sum() / counts.sum())
    is_multiple = np.abs(distances - counts * period) <= limits.time_period_tolerance * period
    return (PER_TIME, period) if has_regular_distances(is_multiple, limits) else None


def has_regular_distances(is_multiple: Flags, limits: Limits) -> bool:
    """Return whether most distances are multiples of the period."""
    return float(is_multiple.mean()) >= limits.regular_distances


def is_complete(series: StepSeries, first: Ints, found: tuple[str, float], limits: Limits) -> bool:
    """Return whether most of the instants at which a slow step is due have one.

    Instants without a steady step are not counted: a profiling window, or warm-up.
    """
    unit, period = found
    if unit == PER_TIME:
        begin, end = series.begin_ns, series.end_ns
    else:
        begin, end = series.number, series.number + 1
    due = np.arange(float(begin[first[0]]), float(begin[-1]) + 1.0, period)
    tolerance = limits.time_period_tolerance * period
    low, high = due - tolerance, due + tolerance
    known = np.searchsorted(end, low, "right") < np.searchsorted(begin, high, "right")
    slow = begin[first].astype(np.float64)
    has_slow = np.searchsorted(slow, low) < np.searchsorted(slow, high, "right")
    expected = int(known.sum())
    return expected > 0 and float((has_slow & known).sum()) >= limits.due_slow_steps * expected
