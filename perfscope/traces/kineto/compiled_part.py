"""A piece of text to columns by the compiled reader (compiled/), for text that is plain JSON with
the usual types.

It refuses everything else, and is not there where the package was installed without a compiler:
part.py then does the same in Python. Both give the same columns.
"""

from typing import Any

import msgspec
import numpy as np

from perfscope.traces.kineto import groups
from perfscope.traces.kineto.columns import Coded
from perfscope.traces.kineto.events import ONE, Args, meta
from perfscope.traces.kineto.layout import (
    IMPOSSIBLE,
    NAMES,
    NUMBERS,
    TEXTS,
    WITH_CATEGORY,
    Column,
    Part,
)

try:
    from perfscope.traces.kineto import compiled_reader
except ImportError:  # installed without a compiler
    compiled_reader = None  # type: ignore[assignment]

GROUPS = tuple(NUMBERS)
KEYS = {field.name: field.encode_name for field in msgspec.structs.fields(Args)}


def is_there() -> bool:
    """Was the compiled reader built?"""
    return compiled_reader is not None


def planned() -> Any:
    """What to read, in the compiled reader's terms."""
    place = {name: at for at, name in enumerate(KEYS)}
    layouts = [
        (
            tuple(place[name] for name in NUMBERS[group]),
            tuple(place[name] for name in NAMES.get(group, ())),
            tuple(place[name] for name in TEXTS.get(group, ())),
            group in WITH_CATEGORY,
        )
        for group in GROUPS
    ]
    categories = {category: GROUPS.index(group) for category, group in groups.COMPLETE.items()}
    return compiled_reader.plan(
        list(KEYS.values()), layouts, categories, groups.MEMORY_NAME, GROUPS.index(groups.MEMORY)
    )


PLAN = planned() if is_there() else None


def compiled_part(piece: bytes | memoryview) -> Part | None:
    """The columns of a piece, None where Python has to look at it."""
    found = compiled_reader.columns(PLAN, piece)
    if found is None:
        return None
    events, ended_at, impossible, metadata, columns = found
    part = Part(events=events, ended_at=ended_at if ended_at >= 0 else None)
    part.leave_out(impossible, IMPOSSIBLE)
    try:
        part.meta = [meta(ONE.decode(text)) for text in metadata]
        for group, values in zip(GROUPS, columns, strict=True):
            if values is not None:
                part.groups[group] = dict(
                    zip(column_names(group), map(column, values), strict=True)
                )
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return part


def column_names(group: str) -> tuple[str, ...]:
    """The columns of a group in the compiled reader's order."""
    coded = (
        "name",
        *(("cat",) if group in WITH_CATEGORY else ()),
        *NAMES.get(group, ()),
        *TEXTS.get(group, ()),
    )
    return ("ts", "dur", "pid", "tid", *NUMBERS[group], *coded)


def column(value: Any) -> Column:
    if isinstance(value, bytes):
        return np.frombuffer(value, np.int64)
    codes, texts = value
    names = [
        text if isinstance(text, str) else msgspec.json.decode(b'"%b"' % text) for text in texts
    ]
    return Coded(np.frombuffer(codes, np.int32), names)
