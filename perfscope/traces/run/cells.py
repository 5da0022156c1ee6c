"""Which values of a JSON row a table can hold: rows come from files that anybody may have
written.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeGuard

from perfscope.traces.schema import Column

LARGEST_WHOLE: Final = 1 << 62
"""Sums and differences of two still fit into 64 bits."""
LARGEST_NS: Final = 1 << 59
"""Readings of CLOCK_MONOTONIC beyond (18 years of uptime) are damaged; so are durations."""
LARGEST_REAL_NS: Final = 1 << 61
"""Readings of a wall clock beyond (the year 2043) are damaged."""
LARGEST_NUMBER: Final = 1e300


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether it is a whole number that an int64 column can hold."""
    return isinstance(value, int) and -LARGEST_WHOLE < value < LARGEST_WHOLE


def is_time(value: Any) -> TypeGuard[int]:
    """Return whether it is a reading of CLOCK_MONOTONIC in nanoseconds."""
    return isinstance(value, int) and -LARGEST_NS < value < LARGEST_NS


def is_wall_time(value: Any) -> TypeGuard[int]:
    """Return whether it is a reading of a wall clock in nanoseconds."""
    return isinstance(value, int) and -LARGEST_REAL_NS < value < LARGEST_REAL_NS


def is_number(value: Any) -> bool:
    """Return whether it is a number that a float64 column can hold."""
    return isinstance(value, int | float) and -LARGEST_NUMBER < value < LARGEST_NUMBER


def is_number_or_none(value: Any) -> bool:
    """Return whether it is a number, or null (NaN)."""
    return value is None or is_number(value)


def is_text_or_none(value: Any) -> bool:
    """Return whether it is a text or null."""
    return value is None or isinstance(value, str)


def is_flag(value: Any) -> bool:
    """Return whether it is a boolean."""
    return isinstance(value, bool)


CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "int64": is_whole,
    "float64": is_number_or_none,
    "category": is_text_or_none,
    "bool": is_flag,
}


def checks_of(columns: Sequence[Column]) -> list[tuple[str, Callable[[Any], bool]]]:
    """Return the check of each of these columns, by name."""
    return [
        (one.name, is_time if one.name in ("ts", "dur") else CHECKS[one.dtype]) for one in columns
    ]


def has_valid_cells(
    row: dict[str, Any], checks: Sequence[tuple[str, Callable[[Any], bool]]]
) -> bool:
    """Return whether the row has a value of the right kind for each of these columns."""
    return all(name in row and check(row[name]) for name, check in checks)
