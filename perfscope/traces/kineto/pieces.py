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
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
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

    def __iter__(self) -> Iterator[memoryview]:
        held = [self.past_head()]
        size, wanted = len(held[0]), PIECE
        for block in self.blocks:
            held.append(block)
            size += len(block)
            if size < wanted:
                continue
            text = held[0] if len(held) == 1 else b"".join(held)
            at = last_boundary(text)
            if at is None:
                held, wanted = [text], size + max(PIECE, size)
                continue
            yield memoryview(text)[: at + 1]
            held, wanted = [text[text.index(b"{", at) :]], PIECE
            size = len(held[0])
        yield memoryview(b"".join(held))

    def past_head(self) -> bytes:
        """Finds the array; returns what has been read of it so far."""
        text = b""
        found: re.Match[bytes] | None = None
        for block in self.blocks:
            text += block
            found = BARE.match(text) or next(
                (one for one in BEGIN.finditer(text) if at_the_top(text[: one.start()])), None
            )
            if found or len(text) > LONGEST_HEAD:
                break
        found = found or BEGIN.search(text)
        if found is None:
            raise NoEvents
        self.head = text[: found.start()]
        return text[found.end() :]


def at_the_top(head: bytes) -> bool:
    """Is what follows this text a member of the outermost object, not of one inside it?"""
    bare = STRING.sub(b"", head)
    opened = bare.count(b"{") + bare.count(b"[")
    return opened - bare.count(b"}") - bare.count(b"]") == 1


def last_boundary(text: bytes) -> int | None:
    """Where the last `}` stands that a comma and the next object follow; None where there is none."""
    at = len(text)
    while (at := text.rfind(b"}", 0, at)) >= 0:
        if BETWEEN.match(text, at, at + LONGEST_SPACE):
            return at
    return None
