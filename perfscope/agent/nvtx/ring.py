"""Reads the ring buffer that the injection library of a process writes (`ring.c`).

It is read, not mapped: whatever the process does to this memory, the agent cannot crash.
"""

import array
import os
import struct
from collections.abc import Iterator

from perfscope.traces.run_folder.events import WIDTH

# The same values as in ring.c.
SLOTS = 65536
SLOT_BYTES = 8 * (1 + WIDTH)
HEADER_BYTES = 4096
NAMES_AT = HEADER_BYTES + SLOTS * SLOT_BYTES
NAMES_BYTES = 1 << 21
HEAD_AT, TAIL_AT, DROPPED_AT, NAMES_USED_AT, OFF_AT = range(0, 320, 64)
WORD = struct.Struct("=Q")
LENGTH = struct.Struct("=I")


class Ring:
    """The ring buffer of one process, an open memory file; its contents are never trusted."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.tail = 0
        self.names_read = 0
        self.dropped = 0

    def counter(self, offset: int) -> int:
        """Return a word of the header, 0 if the file is too short."""
        word = os.pread(self.file, WORD.size, offset)
        return int(WORD.unpack(word)[0]) if len(word) == WORD.size else 0

    def records(self) -> "array.array[int]":
        """Return the complete records since the last call, as flat rows of events.WIDTH."""
        found: array.array[int] = array.array("q")
        head = min(self.counter(HEAD_AT), self.tail + SLOTS)
        while self.tail < head:
            first = self.tail % SLOTS
            count = min(head - self.tail, SLOTS - first)
            flat = array.array("q")
            raw = os.pread(self.file, count * SLOT_BYTES, HEADER_BYTES + first * SLOT_BYTES)
            flat.frombytes(raw[: len(raw) // SLOT_BYTES * SLOT_BYTES])
            complete = count_complete(flat[:: WIDTH + 1], self.tail + 1)
            del flat[complete * (WIDTH + 1) :]
            del flat[:: WIDTH + 1]  # the record numbers
            found.extend(flat)
            self.tail += complete
            if complete < count:
                break  # the process is still writing it
        os.pwrite(self.file, WORD.pack(self.tail), TAIL_AT)
        self.dropped = self.counter(DROPPED_AT)
        return found

    def names(self) -> Iterator[str]:
        """Yield the names since the last call; the first name has code 0, the next 1, and so on."""
        end = min(self.counter(NAMES_USED_AT), NAMES_BYTES)
        text = os.pread(self.file, max(end - self.names_read, 0), NAMES_AT + self.names_read)
        offset = 0
        while offset + LENGTH.size <= len(text):
            (length,) = LENGTH.unpack_from(text, offset)
            begin = offset + LENGTH.size
            yield text[begin : begin + length].decode("utf-8", "replace")
            offset += (LENGTH.size + length + 7) // 8 * 8
        self.names_read += offset

    def unread(self) -> int:
        """Return how many records were not read, because the process ended while it wrote one."""
        return max(self.counter(HEAD_AT) - self.tail, 0)

    def close(self) -> None:
        """Close the ring; NVTX calls of the process then do nothing."""
        os.pwrite(self.file, WORD.pack(1), OFF_AT)
        os.close(self.file)  # closing a memory file never blocks


def count_complete(numbers: "array.array[int]", first: int) -> int:
    """Return how many slots from the start contain the expected record."""
    for place, number in enumerate(numbers):
        if number != first + place:
            return place
    return len(numbers)
