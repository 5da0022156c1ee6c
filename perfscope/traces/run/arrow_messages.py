"""Reads the Arrow streams of run folders: int64 columns without gaps, and nothing else that Arrow
can hold.

Only the schema is handed to pyarrow. Of a record batch the header is read here (a flatbuffer), and
the bytes of its columns are appended to what was read before: nothing is decompressed, no
dictionary is followed, no count in the file sets how much memory is taken. The bound on memory is
the segment that is read (`LARGEST_SEGMENT_BYTES`) and as much again for its columns.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

CONTINUATION: Final = b"\xff\xff\xff\xff"
SCHEMA: Final = 1
RECORD_BATCH: Final = 3
VERSION_5: Final = 4
LONGEST_HEADER: Final = 1 << 16
LARGEST_BODY: Final = 64 << 20
"""Writers flush about once a second."""
MOST_COLUMNS: Final = 64
CELL_BYTES: Final = 8


class ForeignMessage(Exception):
    """A message that no writer of ours writes, or a damaged one."""


@dataclass(frozen=True)
class Flatbuffer:
    """Bounds-checked access to the tables of a flatbuffer. Every method raises ForeignMessage
    outside the bytes.
    """

    data: bytes

    def number(self, form: str, at: int) -> int:
        """Return the number of this `struct` format at a position."""
        if at < 0 or at + struct.calcsize(form) > len(self.data):
            raise ForeignMessage
        found: int = struct.unpack_from(form, self.data, at)[0]
        return found

    def follow(self, at: int) -> int:
        """Return the position that the offset at a position leads to."""
        return at + self.number("<I", at)

    def field(self, table: int, index: int) -> int | None:
        """Return the position of a field of a table, None where the table does not have it."""
        fields = table - self.number("<i", table)
        entry = 4 + 2 * index
        if entry + 2 > self.number("<H", fields):
            return None
        offset = self.number("<H", fields + entry)
        return table + offset if offset else None

    def value(self, table: int, index: int, form: str) -> int:
        """Return a number of a table, 0 where the table does not have it."""
        at = self.field(table, index)
        return 0 if at is None else self.number(form, at)

    def pairs(self, table: int, index: int, most: int) -> list[tuple[int, int]]:
        """Return a vector of structs of two int64; at most `most` of them."""
        at = self.field(table, index)
        if at is None:
            return []
        vector = self.follow(at)
        count = self.number("<I", vector)
        if count > most:
            raise ForeignMessage
        begin = vector + 4
        return [
            (self.number("<q", begin + 16 * n), self.number("<q", begin + 16 * n + 8))
            for n in range(count)
        ]


@dataclass(frozen=True)
class Message:
    """One message of a stream: its kind, its header as bytes and as a table, where its body is, and
    where it ends.
    """

    kind: int
    header: bytes
    table: int
    body_at: int
    body_bytes: int

    @property
    def end(self) -> int:
        """The position after it."""
        return self.body_at + self.body_bytes


def message_at(data: bytes, at: int) -> Message | None:
    """Return the message that begins at `at`; None for the mark of the end of a stream, and where
    the rest is missing.

    Raises ForeignMessage.
    """
    begin = at + 8
    if len(data) < begin:
        return None
    if data[at : at + 4] != CONTINUATION:
        raise ForeignMessage
    (size,) = struct.unpack_from("<i", data, at + 4)
    if size == 0:
        return None
    if not 0 < size <= LONGEST_HEADER:
        raise ForeignMessage
    if len(data) < begin + size:
        return None
    buffer = Flatbuffer(data[begin : begin + size])
    root = buffer.follow(0)
    body_bytes = buffer.value(root, 3, "<q")
    if not 0 <= body_bytes <= LARGEST_BODY or body_bytes % CELL_BYTES or size % CELL_BYTES:
        raise ForeignMessage
    # Format 4 kept compression in the custom metadata (field 4).
    if buffer.value(root, 0, "<h") != VERSION_5 or buffer.field(root, 4) is not None:
        raise ForeignMessage
    found = buffer.field(root, 2)
    if found is None:
        raise ForeignMessage
    message = Message(
        buffer.value(root, 1, "<B"), buffer.data, buffer.follow(found), begin + size, body_bytes
    )
    return message if message.end <= len(data) else None


def schema_of(message: Message, data: bytes, at: int) -> pa.Schema:
    """Return the schema in the message at `at`: int64 columns with different names. Raises
    ForeignMessage.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(data[at : message.end]))
        plain = all(field.type == pa.int64() for field in schema) and len(set(schema.names)) == len(
            schema
        )
    except (pa.ArrowException, OSError, ValueError, MemoryError, UnicodeDecodeError):
        raise ForeignMessage from None
    if message.body_bytes or not plain or not 0 < len(schema) <= MOST_COLUMNS:
        raise ForeignMessage
    return pa.schema([(name, pa.int64()) for name in schema.names])


def places_of(message: Message, columns: int) -> tuple[int, list[int]]:
    """Return the rows of a record batch, and where in the body each column begins.

    Raises ForeignMessage for a compressed batch, one with gaps, and one whose columns are not all
    in its body.
    """
    buffer = Flatbuffer(message.header)
    rows = buffer.value(message.table, 0, "<q")
    is_compressed = buffer.field(message.table, 3) is not None
    nodes = buffer.pairs(message.table, 1, columns)
    buffers = buffer.pairs(message.table, 2, 2 * columns)
    if is_compressed or rows < 0 or nodes != [(rows, 0)] * columns or len(buffers) != 2 * columns:
        raise ForeignMessage
    size = rows * CELL_BYTES
    if (
        size * columns > message.body_bytes
    ):  # several columns in the same bytes would take more memory than the file
        raise ForeignMessage
    for offset, length in buffers[1::2]:
        if offset < 0 or offset % CELL_BYTES or length < size or offset + size > message.body_bytes:
            raise ForeignMessage
    return rows, [offset for offset, _ in buffers[1::2]]


@dataclass
class ArrowReader:
    """Reads one segment, also while it grows.

    `columns` are the bytes of the int64 columns of all batches so far. `refused` is set by the
    first message that is foreign or damaged: nothing after it is read. `used` is how much of the
    data of the last call was read.
    """

    names: tuple[str, ...] | None = None
    columns: list[bytearray] = field(default_factory=list)
    refused: bool = False
    used: int = 0

    def read(self, data: bytes) -> None:
        """Append the whole record batches in `data`, which begins where the last call's `used`
        bytes ended.
        """
        self.used = 0
        try:
            while not self.refused and (message := message_at(data, self.used)) is not None:
                self.take(message, data)
                self.used = message.end
        except ForeignMessage:
            self.refused = True

    def take(self, message: Message, data: bytes) -> None:
        """Append one message. Raises ForeignMessage."""
        if message.kind == SCHEMA and self.names is None:
            self.names = tuple(schema_of(message, data, self.used).names)
            self.columns = [bytearray() for _ in self.names]
        elif message.kind == RECORD_BATCH and self.names is not None:
            rows, places = places_of(message, len(self.names))
            for column, place in zip(self.columns, places, strict=True):
                begin = message.body_at + place
                column += data[begin : begin + rows * CELL_BYTES]
        else:
            raise ForeignMessage

    def is_whole(self, data: bytes) -> bool:
        """Was all of `data` read, up to its end or the mark of the end?"""
        return not self.refused and data[self.used :] in (b"", CONTINUATION + bytes(4))

    def taken(self) -> pa.RecordBatch | None:
        """Return the rows that were read since the last call, None without any."""
        if self.names is None or not self.columns[0]:
            return None
        arrays = [np.frombuffer(column, np.int64) for column in self.columns]
        self.columns = [bytearray() for _ in self.names]
        return pa.RecordBatch.from_arrays([pa.array(one) for one in arrays], list(self.names))
