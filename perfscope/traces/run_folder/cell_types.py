"""Checks whether tables can hold the values of JSON rows, which come from files that anybody may
have written.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeGuard

from perfscope.traces.schema_columns import Column

LARGEST_WHOLE: Final = 1 << 62
"""The sum and the difference of two such numbers fit into 64 bits."""
LARGEST_NS: Final = 1 << 59
"""18 years of uptime. Larger readings of CLOCK_MONOTONIC, and larger durations, are damaged."""
LARGEST_REAL_NS: Final = 1 << 61
"""The year 2043. Larger readings of a wall clock are damaged."""
LARGEST_NUMBER: Final = 1e300


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number that an int64 column can hold."""
    return isinstance(value, int) and -LARGEST_WHOLE < value < LARGEST_WHOLE


def is_time(value: Any) -> TypeGuard[int]:
    """Return whether a value is a reading of CLOCK_MONOTONIC in nanoseconds."""
    return isinstance(value, int) and -LARGEST_NS < value < LARGEST_NS


def is_wall_time(value: Any) -> TypeGuard[int]:
    """Return whether a value is a reading of a wall clock in nanoseconds."""
    return isinstance(value, int) and -LARGEST_REAL_NS < value < LARGEST_REAL_NS


def is_number(value: Any) -> bool:
    """Return whether a value is a number that a float64 column can hold."""
    return isinstance(value, int | float) and -LARGEST_NUMBER < value < LARGEST_NUMBER


def is_number_or_none(value: Any) -> bool:
    """Return whether a value is a number, or null (NaN)."""
    return value is None or is_number(value)


def is_text_or_none(value: Any) -> bool:
    """Return whether a value is a text or null."""
    return value is None or isinstance(value, str)


def is_flag(value: Any) -> bool:
    """Return whether a value is a boolean."""
    return isinstance(value, bool)


CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "int64": is_whole,
    "float64": is_number_or_none,
    "category": is_text_or_none,
    "bool": is_flag,
}


def checks_of(columns: Sequence[Column]) -> list[tuple[str, Callable[[Any], bool]]]:
    """Return the check of each of these columns, by name."""
    checks = []
    for column in columns:
        is_time_column = column.name in ("ts", "dur")
        checks.append((column.name, is_time if is_time_column else CHECKS[column.dtype]))
    return checks


def has_valid_cells(
    row: dict[str, Any], checks: Sequence[tuple[str, Callable[[Any], bool]]]
) -> bool:
    """Return whether a row has a valid value for each of these columns."""
    return all(name in row and check(row[name]) for name, check in checks)
