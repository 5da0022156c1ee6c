"""The shift from one clock to another: an offset, or a piecewise linear curve where the clocks
drift apart.
"""

import math
from dataclasses import dataclass

import numpy as np

from perfscope.traces.intervals import Ints

FEWEST_PER_PIECE = 24
"""With fewer events per piece, single late events move the median of a piece."""
MOST_PIECES = 16
CURVE_GAIN = 0.5
"""A curve must leave less than this share of the residual of a constant."""
NOISE_NS = 2_000
"""The noise of device clocks. A curve must reduce the residual by more."""
MOST_DRIFT = 500e-6
"""Oscillators of hosts are within 100 ppm, and Linux corrects the rate of a clock by at most 500
ppm (adjtimex). A faster drift comes from events that were paired wrongly.
"""


@dataclass(frozen=True)
class Shift:
    """The offset to add to times: linear between the knots; the first and the last piece continue
    outside them.
    """

    at_ns: Ints
    by_ns: Ints

    @classmethod
    def constant(cls, by_ns: int) -> "Shift":
        """Return a shift by one offset."""
        return cls(np.zeros(1, np.int64), np.array([by_ns], np.int64))

    @property
    def drifts(self) -> bool:
        """Whether the offset changes in time."""
        return len(self.at_ns) > 1

    def offset_ns(self, ts: Ints) -> Ints:
        """Return the offset to add to each of these times."""
        if not self.drifts:
            return np.full(len(ts), self.by_ns[0], np.int64)
        # Relative to the first knot, so that float64 represents single nanoseconds.
        at, by = self.at_ns - self.at_ns[0], (self.by_ns - self.by_ns[0]).astype(float)
        relative_ts = (ts - self.at_ns[0]).astype(float)
        piece = np.clip(np.searchsorted(at, relative_ts, side="right") - 1, 0, len(at) - 2)
        slope = np.diff(by) / np.diff(at)
        relative_offset = by[piece] + slope[piece] * (relative_ts - at[piece])
        offset: Ints = self.by_ns[0] + np.rint(relative_offset).astype(np.int64)
        return offset

    def moved(self, ts: Ints) -> Ints:
        """Return these times on the other clock."""
        moved: Ints = ts + self.offset_ns(ts)
        return moved

    def then(self, by_ns: int) -> "Shift":
        """Return this shift plus a constant."""
        return Shift(self.at_ns, self.by_ns + by_ns)


def fit_shift(ts: Ints, difference_ns: Ints) -> Shift:
    """Return the shift that fits the differences (other clock minus this one) of common events at
    `ts`. There must be at least one event.

    It uses medians, which single late events do not move: one of all events, or one per piece where
    a curve fits much better. The drift is at most MOST_DRIFT.
    """
    constant = Shift.constant(median_ns(difference_ns))
    constant_residual_ns = residual_ns(constant, ts, difference_ns)
    order = np.argsort(ts, kind="stable")
    pieces = min(len(ts) // FEWEST_PER_PIECE, MOST_PIECES)
    while pieces >= 2:
        curve = fit_curve(ts, difference_ns, np.array_split(order, pieces))
        if curve is not None:
            curve_residual_ns = residual_ns(curve, ts, difference_ns)
            gain_ns = constant_residual_ns - curve_residual_ns
            is_much_better = curve_residual_ns < CURVE_GAIN * constant_residual_ns
            return curve if is_much_better and gain_ns > NOISE_NS else constant
        pieces //= 2
    return constant


def fit_curve(ts: Ints, difference_ns: Ints, parts: list[Ints]) -> Shift | None:
    """Return the curve through the medians of these parts, None where it drifts faster than clocks
    do.
    """
    at = np.array([median_ns(ts[part]) for part in parts], np.int64)
    by = np.array([median_ns(difference_ns[part]) for part in parts], np.int64)
    length_ns = np.diff(at)
    drifts_too_fast = (np.abs(np.diff(by)) > MOST_DRIFT * length_ns).any()
    return None if (length_ns <= 0).any() or drifts_too_fast else Shift(at, by)


def median_ns(values: Ints) -> int:
    """Return the median to the nanosecond. For times since 1970, float64 has steps of 256 ns, so it
    is computed relative to the first value.
    """
    in_order = np.sort(values - values[0])
    middle = len(in_order) // 2
    lower = in_order[middle - 1 + len(in_order) % 2]
    return int(values[0]) + int((float(lower) + float(in_order[middle])) / 2)


def residual_ns(shift: Shift, ts: Ints, difference_ns: Ints) -> int:
    """Return the error of the shift that 90 % of the common events keep below, in nanoseconds."""
    error_ns = np.sort(np.abs(difference_ns - shift.offset_ns(ts)))
    return int(error_ns[math.ceil(0.9 * (len(error_ns) - 1))])
