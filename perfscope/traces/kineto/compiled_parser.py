"""Parses a piece of text with the compiled reader (compiled/), which handles valid JSON with values
of the usual types.

For any other text it returns None, and where perfscope was installed without a compiler it does not
exist. `piece_parser.py` then does the same in Python. Both return the same columns.
"""

from typing import Any, Final

import msgspec
import numpy as np

from perfscope.traces.kineto import groups
from perfscope.traces.kineto.columns import CodedNames
from perfscope.traces.kineto.events import SINGLE_EVENT, Args, metadata_row
from perfscope.traces.kineto.layout import (
    IMPOSSIBLE,
    MOST_METADATA,
    MUCH_METADATA,
    NAMES,
    NEGATIVE_DURATION,
    NUMBERS,
    TEXTS,
    WITH_CATEGORY,
    EventColumn,
    ParsedPiece,
)

try:
    from perfscope.traces.kineto import compiled_reader
except ImportError:  # installed without a compiler
    compiled_reader = None  # type: ignore[assignment]

GROUPS: Final = tuple(NUMBERS)
JSON_KEYS: Final = {field.name: field.encode_name for field in msgspec.structs.fields(Args)}


def is_available() -> bool:
    """Return whether the compiled reader was built."""
    return compiled_reader is not None


def make_plan() -> Any:
    """Return the columns to read, as an object of the compiled reader."""
    number_of_key = {name: number for number, name in enumerate(JSON_KEYS)}
    layouts = []
    for group in GROUPS:
        columns = [NUMBERS[group], NAMES.get(group, ()), TEXTS.get(group, ())]
        numbers, names, texts = (
            tuple(number_of_key[name] for name in kind_of_column) for kind_of_column in columns
        )
        layouts.append((numbers, names, texts, group in WITH_CATEGORY))
    categories = {
        category: GROUPS.index(group) for category, group in groups.GROUP_OF_CATEGORY.items()
    }
    json_keys, memory = list(JSON_KEYS.values()), GROUPS.index(groups.MEMORY)
    return compiled_reader.plan(json_keys, layouts, categories, groups.MEMORY_NAME, memory)


PLAN = make_plan() if is_available() else None


def parse_compiled(piece: bytes | memoryview) -> ParsedPiece | None:
    """Return the columns of a piece, None where Python has to parse it."""
    result = compiled_reader.columns(PLAN, piece)
    if result is None:
        return None
    event_count, ended_at, impossible, negative, metadata, columns_of_groups = result
    parsed = ParsedPiece(events=event_count, ended_at=ended_at if ended_at >= 0 else None)
    parsed.leave_out(impossible, IMPOSSIBLE)
    parsed.count_violations(NEGATIVE_DURATION, negative)
    try:
        kept = metadata[:MOST_METADATA]
        parsed.meta = [metadata_row(SINGLE_EVENT.decode(text)) for text in kept]
        parsed.leave_out(len(metadata) - len(kept), MUCH_METADATA)
        for group, values in zip(GROUPS, columns_of_groups, strict=True):
            if values is not None:
                columns = map(column_from_compiled, values)
                parsed.groups[group] = dict(zip(column_names(group), columns, strict=True))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return parsed


def column_names(group: str) -> tuple[str, ...]:
    """Return the columns of a group in the order of the compiled reader."""
    category = ("cat",) if group in WITH_CATEGORY else ()
    names = ("name", *category, *NAMES.get(group, ()), *TEXTS.get(group, ()))
    return ("ts", "dur", "pid", "tid", *NUMBERS[group], *names)


def column_from_compiled(value: Any) -> EventColumn:
    """Return a column from its bytes (numbers), or from its codes and names.

    The compiled reader returns a name with escapes as the JSON text between its quotes.
    """
    if isinstance(value, bytes):
        return np.frombuffer(value, np.int64)
    codes, texts = value
    names = [
        text if isinstance(text, str) else msgspec.json.decode(b'"%b"' % text) for text in texts
    ]
    return CodedNames(np.frombuffer(codes, np.int32), names)
