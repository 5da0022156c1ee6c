"""Reads the Arrow streams of run folders: columns of int64 without missing values, and nothing else
that Arrow supports.

pyarrow parses the schema only. The header of a record batch (a flatbuffer) is parsed here, and the
bytes of its columns are appended to those read before. Nothing is decompressed, no dictionary is
followed, and no count in the file decides how much memory is used. Memory is bounded by the size of
the segment (`LARGEST_SEGMENT_BYTES`) and as much again for its columns.
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
"""Far more than a writer collects between two flushes, a second apart."""
MOST_COLUMNS: Final = 64
CELL_BYTES: Final = 8


class ForeignMessage(Exception):
    """A message that perfscope does not write, or a damaged one."""


@dataclass(frozen=True)
class Flatbuffer:
    """Bounds-checked access to the tables of a flatbuffer. Every method raises ForeignMessage for a
    position outside the bytes.
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
class ArrowMessage:
    """One message of a stream: its kind, its header as bytes and as the position of a table, and
    the position and size of its body.
    """

    kind: int
    header: bytes
    table: int
    body_at: int
    body_bytes: int

    @property
    def end(self) -> int:
        """The position after the message."""
        return self.body_at + self.body_bytes


def message_at(data: bytes, at: int) -> ArrowMessage | None:
    """Return the message that begins at `at`, None at the end-of-stream mark and for an incomplete
    message. Raises ForeignMessage.
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
    message = ArrowMessage(
        buffer.value(root, 1, "<B"), buffer.data, buffer.follow(found), begin + size, body_bytes
    )
    return message if message.end <= len(data) else None


def schema_in(message: ArrowMessage, data: bytes, at: int) -> pa.Schema:
    """Return the schema in the message at `at`, which has int64 columns with different names.

    Raises ForeignMessage.
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


def column_positions(message: ArrowMessage, columns: int) -> tuple[int, list[int]]:
    """Return the number of rows of a record batch, and where in its body each column begins.

    Raises ForeignMessage for a batch that is compressed, has missing values, or has columns outside
    its body.
    """
    buffer = Flatbuffer(message.header)
    rows = buffer.value(message.table, 0, "<q")
    is_compressed = buffer.field(message.table, 3) is not None
    nodes = buffer.pairs(message.table, 1, columns)
    buffers = buffer.pairs(message.table, 2, 2 * columns)
    if is_compressed or rows < 0 or nodes != [(rows, 0)] * columns or len(buffers) != 2 * columns:
        raise ForeignMessage
    size = rows * CELL_BYTES
    if size * columns > message.body_bytes:
        raise ForeignMessage  # columns that share bytes would take more memory than the file
    for offset, length in buffers[1::2]:
        if offset < 0 or offset % CELL_BYTES or length < size or offset + size > message.body_bytes:
            raise ForeignMessage
    return rows, [offset for offset, _ in buffers[1::2]]


@dataclass
class ArrowReader:
    """Reads one segment, also while it grows.

    `columns` are the bytes of the int64 columns of the batches that were read. `refused` is true
    after a message that is foreign or damaged; nothing after it is read. `used` is how many bytes
    of the last call were read.
    """

    names: tuple[str, ...] | None = None
    columns: list[bytearray] = field(default_factory=list)
    refused: bool = False
    used: int = 0

    def read(self, data: bytes) -> None:
        """Append the complete record batches in `data`, which begins after the `used` bytes of the
        last call.
        """
        self.used = 0
        try:
            while not self.refused and (message := message_at(data, self.used)) is not None:
                self.take(message, data)
                self.used = message.end
        except ForeignMessage:
            self.refused = True

    def take(self, message: ArrowMessage, data: bytes) -> None:
        """Append one message. Raises ForeignMessage."""
        if message.kind == SCHEMA and self.names is None:
            self.names = tuple(schema_in(message, data, self.used).names)
            self.columns = [bytearray() for _ in self.names]
        elif message.kind == RECORD_BATCH and self.names is not None:
            rows, places = column_positions(message, len(self.names))
            for column, place in zip(self.columns, places, strict=True):
                begin = message.body_at + place
                column += data[begin : begin + rows * CELL_BYTES]
        else:
            raise ForeignMessage

    def is_whole(self, data: bytes) -> bool:
        """Return whether all of `data` was read, up to its end or the end-of-stream mark."""
        return not self.refused and data[self.used :] in (b"", CONTINUATION + bytes(4))

    def take_rows(self) -> pa.RecordBatch | None:
        """Return the rows that were read since the last call, None without any."""
        if self.names is None or not self.columns[0]:
            return None
        arrays = [np.frombuffer(column, np.int64) for column in self.columns]
        self.columns = [bytearray() for _ in self.names]
        return pa.RecordBatch.from_arrays([pa.array(array) for array in arrays], list(self.names))
