"""Encodes rows of int64 columns as messages of the Arrow IPC stream format, using only the standard
library.

Importing pyarrow takes a third of a second of CPU time, which a recording would take from its
target.
"""

import array
import struct
from collections.abc import Sequence
from dataclasses import dataclass

CONTINUATION = b"\xff\xff\xff\xff"
END_OF_STREAM = CONTINUATION + bytes(4)
CELL_BYTES = 8
VERSION_5 = 4
SCHEMA_HEADER, RECORD_BATCH_HEADER = 1, 3
INT_TYPE = 2

Scalar = tuple[str, int]
"""A `struct` format and a value."""


@dataclass(frozen=True)
class FlatTable:
    """A table of a flatbuffer: field number -> scalar or object."""

    fields: "dict[int, Scalar | FlatObject]"


@dataclass(frozen=True)
class FlatVector:
    """A vector of objects of a flatbuffer."""

    items: "Sequence[FlatObject]"


@dataclass(frozen=True)
class FlatStructs:
    """A vector of structs of two int64 of a flatbuffer."""

    pairs: Sequence[tuple[int, int]]


FlatObject = FlatTable | FlatVector | FlatStructs | str


class FlatbufferWriter:
    """Writes the objects of a flatbuffer one after the other, each before those it refers to."""

    def __init__(self, root: FlatObject) -> None:
        self.data = bytearray(4)
        self.put_reference(0, self.put(root))
        self.align(CELL_BYTES)

    def align(self, size: int, after: int = 0) -> None:
        """Pad so that the position `after` bytes further on is a multiple of `size`."""
        self.data += bytes(-(len(self.data) + after) % size)

    def put_reference(self, place: int, position: int) -> None:
        """Let the offset at `place` refer to `position`."""
        struct.pack_into("<I", self.data, place, position - place)

    def put(self, item: FlatObject) -> int:
        """Write one object and what it refers to; return its position."""
        if isinstance(item, FlatTable):
            return self.put_table(item)
        if isinstance(item, FlatVector):
            return self.put_vector(item)
        self.align(CELL_BYTES, after=4)
        position = len(self.data)
        if isinstance(item, FlatStructs):
            self.data += struct.pack("<I", len(item.pairs))
            self.data += struct.pack(
                f"<{2 * len(item.pairs)}q", *(number for pair in item.pairs for number in pair)
            )
        else:
            text = item.encode()
            self.data += struct.pack("<I", len(text)) + text + b"\0"
        return position

    def put_vector(self, vector: FlatVector) -> int:
        """Write a vector and its items; return its position."""
        self.align(4)
        position = len(self.data)
        self.data += struct.pack("<I", len(vector.items)) + bytes(4 * len(vector.items))
        for at, item in enumerate(vector.items):
            self.put_reference(position + 4 + 4 * at, self.put(item))
        return position

    def put_table(self, table: FlatTable) -> int:
        """Write a table; return its position. Each field takes eight bytes, so that all are
        aligned.
        """
        numbers = sorted(table.fields)
        entries = [0] * (numbers[-1] + 1)
        for cell, number in enumerate(numbers):
            entries[number] = CELL_BYTES * (1 + cell)
        vtable_bytes, table_bytes = 4 + 2 * len(entries), CELL_BYTES * (1 + len(numbers))
        self.align(CELL_BYTES, after=vtable_bytes)
        self.data += struct.pack(f"<{2 + len(entries)}H", vtable_bytes, table_bytes, *entries)
        position = len(self.data)
        self.data += struct.pack("<i", vtable_bytes) + bytes(table_bytes - 4)
        for number in numbers:
            place, value = position + entries[number], table.fields[number]
            if isinstance(value, tuple):
                struct.pack_into(f"<{value[0]}", self.data, place, value[1])
            else:
                self.put_reference(place, self.put(value))
        return position


def message(header_type: int, header: FlatTable, body_bytes: int) -> bytes:
    """Return a message up to the begin of its body."""
    table = FlatTable({0: ("h", VERSION_5), 1: ("B", header_type), 2: header, 3: ("q", body_bytes)})
    data = bytes(FlatbufferWriter(table).data)
    return CONTINUATION + struct.pack("<i", len(data)) + data


def schema_message(names: Sequence[str]) -> bytes:
    """Return the first message of a stream with these int64 columns."""
    int64 = FlatTable({0: ("i", 64), 1: ("B", 1)})
    columns = [
        FlatTable({0: name, 1: ("B", 1), 2: ("B", INT_TYPE), 3: int64, 5: FlatVector([])})
        for name in names
    ]
    return message(SCHEMA_HEADER, FlatTable({0: ("h", 0), 1: FlatVector(columns)}), 0)


def batch_message(flat: "array.array[int]", width: int) -> bytes:
    """Return the record batch of rows of `width` int64, which follow each other in `flat`."""
    rows = len(flat) // width
    column_bytes = rows * CELL_BYTES
    buffers = [
        pair
        for at in range(width)
        for pair in ((at * column_bytes, 0), (at * column_bytes, column_bytes))
    ]
    header = FlatTable(
        {0: ("q", rows), 1: FlatStructs([(rows, 0)] * width), 2: FlatStructs(buffers)}
    )
    body = b"".join(flat[at::width].tobytes() for at in range(width))
    return message(RECORD_BATCH_HEADER, header, len(body)) + body
