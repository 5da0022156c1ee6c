"""Turns lists of arbitrary JSON values into typed columns: all at once where every value is of the
usual type, one by one where not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

MISSING: Final = -1
EXACT_FLOAT_US: Final = 8.7e12
"""About 2**43. Below it a float represents a time in us with an error of at most half a nanosecond:
floats there are at most 2**-10 us apart.
"""
LATEST_US: Final = 4e15
"""The year 2096. The difference of two times below it, in nanoseconds, fits into 63 bits."""
NO_TIME_NS: Final = np.iinfo(np.int64).min
LONGEST_TEXT: Final = 1000


@dataclass
class CodedNames:
    """A column of names: codes into `names`, -1 for no name."""

    codes: NDArray[np.int32]
    names: list[str]


def integers(values: Sequence[Any]) -> Ints:
    """Return values as int64, -1 for a value that is not a whole number."""
    try:
        if set(map(type, values)) <= {int, float, bool}:
            return np.array(values, np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array([integer(value) for value in values], np.int64)


def integer(value: Any) -> int:
    """Return a value as a whole number, -1 where it is not one that fits into 64 bits."""
    try:
        number = int(value, 0) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        return MISSING
    return number if -(2**63) <= number < 2**63 else MISSING


def nanoseconds(values: Sequence[Any]) -> tuple[Ints, list[int]]:
    """Return microseconds, as numbers or text, in nanoseconds; NO_TIME_NS for a value that is not a
    time.

    Also returns the rows of floats that are too large to hold a time to the nanosecond. Those have
    to be read from their text.
    """
    if set(map(type, values)) <= {int, float}:
        array = np.array(values)
        if array.dtype == np.int64 or not len(array):
            return nanoseconds_from_integers(array), []
        if array.dtype == np.float64:
            inexact = np.flatnonzero(np.abs(array) >= EXACT_FLOAT_US)
            return nanoseconds_from_floats(array), inexact.tolist()
    inexact_rows = [
        row
        for row, value in enumerate(values)
        if isinstance(value, float) and abs(value) >= EXACT_FLOAT_US
    ]
    return np.array([nanosecond(value) for value in values], np.int64), inexact_rows


def nanoseconds_from_integers(us: NDArray[Any]) -> Ints:
    """Return whole microseconds in nanoseconds."""
    possible = (us > -LATEST_US) & (us < LATEST_US)
    ns = np.where(possible, us, 0) * 1000
    return np.where(possible, ns, NO_TIME_NS).astype(np.int64)


def nanoseconds_from_floats(us: NDArray[np.float64]) -> Ints:
    """Return microseconds in nanoseconds, rounded."""
    possible = np.abs(us) < LATEST_US
    us = np.where(possible, us, 0.0)
    whole = np.floor(us)
    rest_ns = np.rint((us - whole) * 1000).astype(np.int64)
    ns: Ints = whole.astype(np.int64) * 1000 + rest_ns
    return np.where(possible, ns, NO_TIME_NS)


def nanosecond(value: Any) -> int:
    """Return one time in microseconds, of any type, in nanoseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return int(NO_TIME_NS)
    if isinstance(value, str):
        return nanosecond_from_text(value)
    if isinstance(value, float):
        return int(nanoseconds_from_floats(np.array([value]))[0])
    return value * 1000 if abs(value) < LATEST_US else int(NO_TIME_NS)


def nanosecond_from_text(text: str) -> int:
    """Return microseconds in decimal digits, with or without quotes, in nanoseconds, without the
    rounding error of a float.
    """
    try:
        us = Decimal(text.strip().strip('"'))
        is_possible = us.is_finite() and abs(us) < LATEST_US
        return int((us * 1000).to_integral_value()) if is_possible else int(NO_TIME_NS)
    except DecimalException:  # not a number, or one with an exponent that Decimal cannot hold
        return int(NO_TIME_NS)


def encode_names(values: Sequence[Any]) -> CodedNames:
    """Return names as codes."""
    try:
        different = dict.fromkeys(values)
    except TypeError:  # lists and other values that cannot be keys
        values = [as_text(value) for value in values]
        different = dict.fromkeys(values)
    different.pop(None, None)
    code_of_value = {value: code for code, value in enumerate(different)}
    code_of_value[None] = MISSING
    codes = np.fromiter(map(code_of_value.__getitem__, values), np.int32, len(values))
    return CodedNames(codes, [as_text(value) or "" for value in different])


def as_text(value: Any) -> str | None:
    """Return a value as text, None for None."""
    try:
        return value if value is None or isinstance(value, str) else str(value)[:LONGEST_TEXT]
    except (RecursionError, ValueError):  # nested too deeply; more digits than Python converts
        return type(value).__name__
