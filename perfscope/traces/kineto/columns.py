"""Lists of whatever a trace holds to typed columns. The fast way where all is well, one value at a
time where not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

MISSING = -1
# A float holds microseconds to the nanosecond up to here (2**43: its last digit is worth half a
# nanosecond).
EXACT_FLOAT_US = 8.7e12
# No time is beyond (the year 2096); the difference of two such times in ns still fits into 63 bits.
LATEST_US = 4e15
BAD = np.iinfo(np.int64).min


@dataclass
class Coded:
    """A column of names: codes into `names`, -1 for none."""

    codes: NDArray[np.int32]
    names: list[str]


def integers(values: Sequence[Any]) -> Ints:
    """Whole numbers, -1 for what is none."""
    try:
        if set(map(type, values)) <= {int, float, bool}:
            return np.array(values, np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array([integer(value) for value in values], np.int64)


def integer(value: Any) -> int:
    try:
        number = int(value, 0) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        return MISSING
    return number if -(2**63) <= number < 2**63 else MISSING


def nanoseconds(values: Sequence[Any]) -> tuple[Ints, list[int]]:
    """Microseconds, as numbers or text, to ns; `BAD` for what is no time. Beside it the rows of
    floats too large to hold a time to the nanosecond: theirs has to come from their text.
    """
    if set(map(type, values)) <= {int, float}:
        array = np.array(values)
        if array.dtype == np.int64 or not len(array):
            good = (array > -LATEST_US) & (array < LATEST_US)
            return np.where(good, np.where(good, array, 0) * 1000, BAD).astype(np.int64), []
        if array.dtype == np.float64:
            return from_floats(array), np.flatnonzero(np.abs(array) >= EXACT_FLOAT_US).tolist()
    inexact = [
        at
        for at, value in enumerate(values)
        if isinstance(value, float) and abs(value) >= EXACT_FLOAT_US
    ]
    return np.array([nanosecond(value) for value in values], np.int64), inexact


def from_floats(us: NDArray[np.float64]) -> Ints:
    good = np.abs(us) < LATEST_US
    us = np.where(good, us, 0.0)
    whole = np.floor(us)
    ns: Ints = whole.astype(np.int64) * 1000 + np.rint((us - whole) * 1000).astype(np.int64)
    return np.where(good, ns, BAD)


def nanosecond(value: Any) -> int:
    """One time of any type."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return int(BAD)
    if isinstance(value, str):
        return exactly(value)
    if isinstance(value, float):
        return int(from_floats(np.array([value]))[0])
    return value * 1000 if abs(value) < LATEST_US else int(BAD)


def exactly(text: str) -> int:
    """Microseconds in decimal digits, in quotes or not, to ns without passing through a float."""
    try:
        us = Decimal(text.strip().strip('"'))
        return (
            int((us * 1000).to_integral_value())
            if us.is_finite() and abs(us) < LATEST_US
            else int(BAD)
        )
    except DecimalException:  # not a number, or one with an exponent beyond those of a Decimal
        return int(BAD)


def coded(values: Sequence[Any]) -> Coded:
    """Names to codes."""
    try:
        seen = dict.fromkeys(values)
    except TypeError:  # lists and the like
        values = [told(value) for value in values]
        seen = dict.fromkeys(values)
    seen.pop(None, None)
    index = {value: code for code, value in enumerate(seen)}
    index[None] = MISSING
    codes = np.fromiter(map(index.__getitem__, values), np.int32, len(values))
    return Coded(codes, [told(value) or "" for value in seen])


def told(value: Any) -> str | None:
    """Return a value as text, None for none."""
    try:
        return value if value is None or isinstance(value, str) else str(value)[:1000]
    except (RecursionError, ValueError):  # nested too deep; more digits than Python writes
        return type(value).__name__
