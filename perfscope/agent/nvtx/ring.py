"""Reads the ring that the injection library of a process writes (`ring.c`): never mapped here, so
that nothing it does to its own memory can hurt us.
"""

import array
import os
import struct
from collections.abc import Iterator

from perfscope.traces.run.events import WIDTH

# As ring.c has them.
SLOTS = 65536
SLOT_BYTES = 8 * (1 + WIDTH)
HEADER_BYTES = 4096
NAMES_AT = HEADER_BYTES + SLOTS * SLOT_BYTES
NAMES_BYTES = 1 << 21
HEAD_AT, TAIL_AT, DROPPED_AT, NAMES_USED_AT, OFF_AT = range(0, 320, 64)
WORD = struct.Struct("=Q")
LENGTH = struct.Struct("=I")


class Ring:
    """One process's ring, given as an open memory file. What it says is taken as it comes and never
    trusted with a size.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.tail = 0
        self.names_read = 0
        self.dropped = 0

    def counter(self, at: int) -> int:
        """One of the header's words; 0 of a file that is too short."""
        word = os.pread(self.file, WORD.size, at)
        return int(WORD.unpack(word)[0]) if len(word) == WORD.size else 0

    def records(self) -> "array.array[int]":
        """The whole records since the last time, rows of events.WIDTH."""
        taken: array.array[int] = array.array("q")
        head = min(self.counter(HEAD_AT), self.tail + SLOTS)
        while self.tail < head:
            first = self.tail % SLOTS
            count = min(head - self.tail, SLOTS - first)
            flat = array.array("q")
            raw = os.pread(self.file, count * SLOT_BYTES, HEADER_BYTES + first * SLOT_BYTES)
            flat.frombytes(raw[: len(raw) // SLOT_BYTES * SLOT_BYTES])
            whole = finished(flat[:: WIDTH + 1], self.tail + 1)
            del flat[whole * (WIDTH + 1) :]
            del flat[:: WIDTH + 1]
            taken.extend(flat)
            self.tail += whole
            if whole < count:
                break  # its writer is still at it
        os.pwrite(self.file, WORD.pack(self.tail), TAIL_AT)
        self.dropped = self.counter(DROPPED_AT)
        return taken

    def names(self) -> Iterator[str]:
        """Names told since the last time; the first ever has code 0, the next 1, and so on."""
        end = min(self.counter(NAMES_USED_AT), NAMES_BYTES)
        text = os.pread(self.file, max(end - self.names_read, 0), NAMES_AT + self.names_read)
        at = 0
        while at + LENGTH.size <= len(text):
            (length,) = LENGTH.unpack_from(text, at)
            yield text[at + LENGTH.size : at + LENGTH.size + length].decode("utf-8", "replace")
            at += (LENGTH.size + length + 7) // 8 * 8
        self.names_read += at

    def unread(self) -> int:
        """Records that their writer was ended in, and those behind them: once it has gone nobody
        finishes them.
        """
        return max(self.counter(HEAD_AT) - self.tail, 0)

    def close(self) -> None:
        """From now on the process's calls do nothing but return."""
        os.pwrite(self.file, WORD.pack(1), OFF_AT)
        os.close(self.file)  # a memory file: closing it never waits


def finished(numbers: "array.array[int]", first: int) -> int:
    """How many slots from the start hold the record that is due there."""
    for place, number in enumerate(numbers):
        if number != first + place:
            return place
    return len(numbers)
