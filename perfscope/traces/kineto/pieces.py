"""Cuts the text of a trace into the text around its events and pieces of whole events, without
parsing it.

A piece ends where one object ends and the next begins. That can also be inside an event, in a list
of objects among its arguments. Such a piece is not valid JSON; `FileParser` joins it with the
next.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

PIECE: Final = 4 << 20
LONGEST_HEAD: Final = 16 << 20
"""A file in which the event array does not begin within this is not a trace."""
NAMED_ARRAY: Final = re.compile(rb'"traceEvents"\s*:\s*\[')
BARE_ARRAY: Final = re.compile(rb"\s*\[")
LONGEST_SPACE: Final = 2048
BOUNDARY: Final = re.compile(rb"\}\s{0,%d},\s{0,%d}\{" % (LONGEST_SPACE, LONGEST_SPACE))
LONGEST_BOUNDARY: Final = 2 * LONGEST_SPACE + 3
SEARCHED_AT_ONCE: Final = 1 << 16
LONGEST_PIECE: Final = 64 << 20
"""An event with a list of a million shapes has some MB. A text without a boundary for this long is
not a trace.
"""


class NoEvents(Exception):
    """The text has no array of events that can be read; the message says why."""


class Pieces:
    """Iterates over the pieces of the event array, without its opening bracket; the last piece also
    holds everything after the array.

    Raises NoEvents, also for an event longer than `LONGEST_PIECE`. `head` is the text before the
    array: a JSON object without its end.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.blocks = iter(blocks)
        self.head = b""

    def __iter__(self) -> Iterator[memoryview]:
        held = [self.read_head()]
        size, wanted, search_from = len(held[0]), PIECE, 0
        for block in self.blocks:
            held.append(block)
            size += len(block)
            if size < wanted:
                continue
            text = held[0] if len(held) == 1 else b"".join(held)
            at = last_boundary(text, search_from)
            if at is None and size > LONGEST_PIECE:
                raise NoEvents(f"an event has more than {LONGEST_PIECE >> 20} MiB")
            if at is None:
                held, wanted = [text], size + max(PIECE, size)
                # The boundary may be cut in two by the end of this block.
                search_from = max(size - LONGEST_BOUNDARY, 0)
                continue
            yield memoryview(text)[: at + 1]
            held, wanted, search_from = [text[text.index(b"{", at) :]], PIECE, 0
            size = len(held[0])
        yield memoryview(b"".join(held))

    def read_head(self) -> bytes:
        """Read up to the begin of the event array, and return what was read of the array.

        The text is searched each time its length has doubled, so that the search takes linear time.
        """
        held: list[bytes] = []
        size, wanted = 0, 1
        text, begin = b"", None
        for block in self.blocks:
            held.append(block)
            size += len(block)
            if size < wanted and size <= LONGEST_HEAD:
                continue
            text, wanted = b"".join(held), 2 * size
            begin, held = array_begin(text), [text]
            if begin or size > LONGEST_HEAD:
                break
        if begin is None:
            text = b"".join(held)
            begin = array_begin(text) or NAMED_ARRAY.search(text)
        if begin is None:
            raise NoEvents("it has no `traceEvents`")
        self.head = text[: begin.start()]
        return text[begin.end() :]


def array_begin(text: bytes) -> re.Match[bytes] | None:
    """Return where the event array begins: at the start of the text, or as a member of the
    outermost object.
    """
    if bare := BARE_ARRAY.match(text):
        return bare
    first = NAMED_ARRAY.search(text)
    if first is None or depth(text[: first.start() + 1])[-1] == 1:
        return first
    depths = depth(text)
    for match in NAMED_ARRAY.finditer(text):
        if depths[match.start()] == 1:
            return match
    return None


def depth(text: bytes) -> NDArray[np.int32]:
    """Return for each byte how many objects and arrays it is inside, -1 for the bytes of a string
    after its opening quote.
    """
    byte = np.frombuffer(text, np.uint8)
    at = np.arange(len(byte), dtype=np.int32)
    # A byte is escaped when an odd number of backslashes precedes it.
    last_other = np.maximum.accumulate(np.where(byte == ord("\\"), np.int32(-1), at))
    backslashes_before = np.empty_like(at)
    backslashes_before[:1], backslashes_before[1:] = 0, at[:-1] - last_other[:-1]
    quote = (byte == ord('"')) & (backslashes_before % 2 == 0)
    in_string = (np.cumsum(quote, dtype=np.int32) - quote) % 2 == 1
    opens, closes = np.isin(byte, (ord("{"), ord("["))), np.isin(byte, (ord("}"), ord("]")))
    steps = np.where(in_string, 0, opens.astype(np.int32) - closes)
    return np.where(in_string, np.int32(-1), np.cumsum(steps, dtype=np.int32))


def last_boundary(text: bytes, start: int = 0) -> int | None:
    """Return the position of the last `}` from `start` on that is followed by a comma and the next
    object, None where there is none.

    The regular expression does the search: a loop over each `}` takes half a minute for a text that
    consists of them.
    """
    end = len(text)
    while end > start:
        begin = max(end - SEARCHED_AT_ONCE, start)
        positions = [
            match.start() for match in BOUNDARY.finditer(text, begin, end + LONGEST_BOUNDARY)
        ]
        if positions:
            return positions[-1]
        end = begin
    return None
