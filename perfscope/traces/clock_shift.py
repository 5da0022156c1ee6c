"""What brings one clock onto another: an offset, or a piecewise linear curve where the clocks drift
apart.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.traces.intervals import Ints

# Fewer common events than this a piece, and the median of a piece is moved by single late ones.
FEWEST_A_PIECE = 24
MOST_PIECES = 16
# A curve must explain this much more than a constant: half of what it leaves, and more than the
# noise of device clocks.
CURVE_GAIN = 0.5
NOISE_NS = 2_000
# Oscillators of hosts are within 100 ppm, and Linux corrects a clock's rate by 500 ppm at most
# (adjtimex): what runs away faster is not a clock, but events wrongly taken for the same.
MOST_DRIFT = 500e-6


@dataclass(frozen=True)
class Shift:
    """What to add to times: linear between the knots, the first and last piece continued outside
    them.
    """

    at_ns: Ints
    by_ns: Ints

    @classmethod
    def constant(cls, by_ns: int) -> "Shift":
        return cls(np.zeros(1, np.int64), np.array([by_ns], np.int64))

    @property
    def drifts(self) -> bool:
        """Is it more than one offset?"""
        return len(self.at_ns) > 1

    def offset_ns(self, ts: Ints) -> Ints:
        """What to add to each of these times."""
        if not self.drifts:
            return np.full(len(ts), self.by_ns[0], np.int64)
        # Relative to the first knot, so that float64 keeps single nanoseconds.
        at, by = self.at_ns - self.at_ns[0], (self.by_ns - self.by_ns[0]).astype(float)
        where = (ts - self.at_ns[0]).astype(float)
        piece = np.clip(np.searchsorted(at, where, side="right") - 1, 0, len(at) - 2)
        slope = np.diff(by) / np.diff(at)
        offset: Ints = self.by_ns[0] + np.rint(
            by[piece] + slope[piece] * (where - at[piece])
        ).astype(np.int64)
        return offset

    def moved(self, ts: Ints) -> Ints:
        """These times on the other clock."""
        moved: Ints = ts + self.offset_ns(ts)
        return moved

    def then(self, by_ns: int) -> "Shift":
        """This and a constant more."""
        return Shift(self.at_ns, self.by_ns + by_ns)


def fitted(ts: Ints, difference_ns: Ints) -> Shift:
    """The shift that explains `difference_ns` (other clock minus this one) of common events at
    `ts`; needs one at least.

    Robust: medians, of all of them or of pieces where a drift leaves much less unexplained. A drift
    is at most MOST_DRIFT.
    """
    constant = Shift.constant(middle(difference_ns))
    before = residual_ns(constant, ts, difference_ns)
    order = np.argsort(ts, kind="stable")
    pieces = min(len(ts) // FEWEST_A_PIECE, MOST_PIECES)
    while pieces >= 2:
        curve = curved(ts, difference_ns, np.array_split(order, pieces))
        if curve is not None:
            after = residual_ns(curve, ts, difference_ns)
            return curve if after < CURVE_GAIN * before and before - after > NOISE_NS else constant
        pieces //= 2
    return constant


def curved(ts: Ints, difference_ns: Ints, parts: list[Ints]) -> Shift | None:
    """The curve through the medians of these parts; None where no clock drifts like that."""
    at = np.array([middle(ts[part]) for part in parts], np.int64)
    by = np.array([middle(difference_ns[part]) for part in parts], np.int64)
    if (np.diff(at) <= 0).any() or (np.abs(np.diff(by)) > MOST_DRIFT * np.diff(at)).any():
        return None
    return Shift(at, by)


def middle(values: Ints) -> int:
    """The median, to the nanosecond also of times since 1970, of which float64 knows only every
    256th.
    """
    return int(values[0]) + int(np.median(values - values[0]))


def residual_ns(shift: Shift, ts: Ints, difference_ns: Ints) -> int:
    """What the shift leaves unexplained in nine of ten common events, ns."""
    left = np.abs(difference_ns - shift.offset_ns(ts))
    return int(np.quantile(left, 0.9, method="higher"))
