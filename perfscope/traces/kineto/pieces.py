"""Cuts the text of a trace into what stands around its events and pieces of whole events, without
parsing them.

A piece ends where one object ends and the next begins. That may also be inside an event (a list of
objects in its arguments); such a piece does not parse, which whoever parses it notices:
`Pieces.longer` then joins it with the next.
"""

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

PIECE = 4 << 20
# Where no event array has begun by then the file is something else.
LONGEST_HEAD = 16 << 20
BEGIN = re.compile(rb'"traceEvents"\s*:\s*\[')
BARE = re.compile(rb"\s*\[")
LONGEST_SPACE = 2048
BETWEEN = re.compile(rb"\}\s{0,%d},\s{0,%d}\{" % (LONGEST_SPACE, LONGEST_SPACE))
SEARCHED_AT_ONCE = 1 << 16
# An event with a list of a million shapes is some MB; no boundary in so much text is no trace.
LONGEST_PIECE = 64 << 20


class NoEvents(Exception):
    """The text has no array of events."""


class Pieces:
    """Iterates over pieces of the event array, each without its brackets; the last holds all that
    follows it too.

    Raises NoEvents, also where one event does not end within `LONGEST_PIECE` bytes. `head` is the
    text before the array, a JSON object without its end.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.blocks = iter(blocks)
        self.head = b""

    def __iter__(self) -> Iterator[memoryview]:
        held = [self.past_head()]
        size, wanted, searched = len(held[0]), PIECE, 0
        for block in self.blocks:
            held.append(block)
            size += len(block)
            if size < wanted:
                continue
            text = held[0] if len(held) == 1 else b"".join(held)
            at = last_boundary(text, searched)
            if at is None and size > LONGEST_PIECE:
                raise NoEvents
            if at is None:
                held, wanted = [text], size + max(PIECE, size)
                searched = max(size - 2 * LONGEST_SPACE - 3, 0)  # a boundary may be cut in two
                continue
            yield memoryview(text)[: at + 1]
            held, wanted, searched = [text[text.index(b"{", at) :]], PIECE, 0
            size = len(held[0])
        yield memoryview(b"".join(held))

    def past_head(self) -> bytes:
        """Find the array; returns what has been read of it so far.

        The text is searched whenever it has become twice as long, so that the whole search is
        linear in its length.
        """
        held: list[bytes] = []
        size, wanted = 0, 1
        text, found = b"", None
        for block in self.blocks:
            held.append(block)
            size += len(block)
            if size < wanted and size <= LONGEST_HEAD:
                continue
            text, wanted = b"".join(held), 2 * size
            found, held = array_begin(text), [text]
            if found or size > LONGEST_HEAD:
                break
        if found is None:
            text = b"".join(held)
            found = array_begin(text) or BEGIN.search(text)
        if found is None:
            raise NoEvents
        self.head = text[: found.start()]
        return text[found.end() :]


def array_begin(text: bytes) -> re.Match[bytes] | None:
    """Return where the event array begins: at the start of the text, or as a member of the
    outermost object.
    """
    if bare := BARE.match(text):
        return bare
    first = BEGIN.search(text)
    if first is None or depth(text[: first.start() + 1])[-1] == 1:
        return first
    depths = depth(text)
    return next((one for one in BEGIN.finditer(text) if depths[one.start()] == 1), None)


def depth(text: bytes) -> NDArray[np.int32]:
    """Return for each byte how many objects and arrays it is in, -1 for the bytes of a string after
    its opening quote.
    """
    byte = np.frombuffer(text, np.uint8)
    at = np.arange(len(byte), dtype=np.int32)
    last_other = np.maximum.accumulate(np.where(byte == ord("\\"), np.int32(-1), at))
    # Escaped is what an odd number of backslashes in a row stands before.
    before = np.empty_like(at)
    before[:1], before[1:] = 0, at[:-1] - last_other[:-1]
    quote = (byte == ord('"')) & (before % 2 == 0)
    in_string = (np.cumsum(quote, dtype=np.int32) - quote) % 2 == 1
    opens, closes = np.isin(byte, (ord("{"), ord("["))), np.isin(byte, (ord("}"), ord("]")))
    steps = np.where(in_string, 0, opens.astype(np.int32) - closes)
    return np.where(in_string, np.int32(-1), np.cumsum(steps, dtype=np.int32))


def last_boundary(text: bytes, start: int = 0) -> int | None:
    """Return where the last `}` is that a comma and the next object follow, from `start` on; None
    where there is none.

    The regular expression does the search: a loop over each `}` takes half a minute for a text of
    nothing else.
    """
    end = len(text)
    while end > start:
        begin = max(end - SEARCHED_AT_ONCE, start)
        found = None
        for found in BETWEEN.finditer(text, begin, end + 2 * LONGEST_SPACE + 3):  # noqa: B007
            pass
        if found is not None:
            return found.start()
        end = begin
    return None
