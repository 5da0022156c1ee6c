"""Cuts the text of a trace into what stands around its events and pieces of whole events, without parsing them.

A piece ends where one object ends and the next begins. That may also be inside an event (a list of objects in its
arguments); such a piece does not parse, which whoever parses it notices: `Pieces.longer` then joins it with the next.
"""

import re
from collections.abc import Iterable, Iterator

PIECE = 4 << 20
# Where no event array has begun by then the file is something else.
LONGEST_HEAD = 64 << 20
BEGIN = re.compile(rb'(?<!\\)"traceEvents"\s*:\s*\[')
BARE = re.compile(rb"\s*\[")
BETWEEN = re.compile(rb"\}\s*,\s*\{")
LONGEST_SPACE = 4096


class NoEvents(Exception):
    """The text has no array of events."""


class Pieces:
    """Iterates over pieces of the event array, each without its brackets; the last holds all that follows it too.

    Raises NoEvents. `head` is the text before the array, a JSON object without its end.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.blocks = iter(blocks)
        self.head = b""
        self.buffer = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        self.find_array()
        wanted = PIECE
        for block in self.blocks:
            self.buffer += block
            if len(self.buffer) < wanted:
                continue
            at = last_boundary(self.buffer)
            if at is None:
                wanted = len(self.buffer) + PIECE
                continue
            wanted = PIECE
            piece = bytes(memoryview(self.buffer)[: at + 1])
            del self.buffer[: self.buffer.index(b"{", at)]
            yield piece
        yield bytes(self.buffer)

    def find_array(self) -> None:
        for block in self.blocks:
            self.buffer += block
            found = BARE.match(self.buffer) or BEGIN.search(self.buffer)
            if found:
                self.head = bytes(self.buffer[: found.start()])
                del self.buffer[: found.end()]
                return
            if len(self.buffer) > LONGEST_HEAD:
                break
        raise NoEvents


def last_boundary(text: bytearray) -> int | None:
    """Where the last `}` stands that a comma and the next object follow; None where there is none."""
    at = len(text)
    while (at := text.rfind(b"}", 0, at)) >= 0:
        if BETWEEN.match(text, at, at + LONGEST_SPACE):
            return at
    return None
