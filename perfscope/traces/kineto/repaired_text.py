"""Repairs events whose text is not valid JSON although a profiler wrote it: numbers that are not
finite, bytes that are not UTF-8, and names with quotes, backslashes or control characters that are
not escaped.

A repair never changes the length of the text, so that positions in it stay valid. Only events that
cannot be decoded are touched. Each is decoded a few times at most, so the cost is linear.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from perfscope.traces.kineto.pieces import BOUNDARY

NOT_A_NUMBER: Final = re.compile(
    rb"(?<=[:\[,\s])[-+]?(?:nan(?:\((?:ind|snan)\))?|inf(?:inity)?)(?=\s*[,}\]])", re.IGNORECASE
)
ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
"""Every escape of a text in turn, so that the second backslash of `\\\\u` does not begin one. Group
1 is half a surrogate pair on its own.
"""
TRAILING: Final = re.compile(r"trailing characters \(byte (\d+)\)")
NAME_BEGIN: Final = re.compile(rb'"name": ?"')
NAME_END: Final = re.compile(rb'"\s*(?:,\s*"(?:ph|cat|pid|tid|ts|dur|id|args)"\s*:|\})')
"""The name of an event extends to the quote that the next member follows."""
ARGUMENTS: Final = re.compile(rb',\s*"args"\s*:\s*\{')
WRONG_ESCAPE: Final = re.compile(rb'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
RAW_BACKSLASH: Final = re.compile(rb'(\\["\\](?!\Z))|\\')
RAW_QUOTE: Final = re.compile(rb'(\\.)|"', re.DOTALL)
"""Group 1 is an escape that is kept."""
CONTROLS: Final = bytes(range(32))
SPACES_FOR_CONTROLS: Final = bytes.maketrans(CONTROLS, b" " * 32)
MARKS_FOR_CONTROLS: Final = bytes.maketrans(CONTROLS, b"?" * 32)
ARRAY_END: Final = re.compile(rb"\}\s*\](?=\s*[,}\]]|\s*\Z)")
MOST_CHUNKS: Final = 8
"""An event with lists of objects among its arguments is cut into several chunks."""
FEWEST_SKIPPED: Final = 10
MOST_SKIPPED: Final = 0.1
"""A text in which more events than this cannot be repaired is damaged as a whole."""
INVALID_TEXT: Final = "invalid-text"
NOT_FINITE: Final = "value-not-finite"

Decode = Callable[[bytes], Any]


def with_repaired_events(
    text: bytes, error: BaseException, decode: Decode
) -> tuple[bytes, dict[str, int]]:
    """Return the text of an array with the events repaired that `decode` refuses, and how many were
    repaired or made empty, by invariant.

    Raises msgspec.DecodeError for `error`, the one that decoding the whole text raised, where the
    text is damaged as a whole.
    """
    repair = TextRepair(text, decode)
    if not repair.run():
        raise msgspec.DecodeError(str(error)) from error
    return bytes(repair.repaired), repair.counts


@dataclass
class TextRepair:
    """The repair of the text of an array, event by event."""

    text: bytes
    decode: Decode
    counts: dict[str, int] = field(default_factory=dict)
    skipped: int = 0

    def __post_init__(self) -> None:
        self.repaired = bytearray(self.text)
        first = self.text.find(b"{")
        self.begins = [first, *(match.end() - 1 for match in BOUNDARY.finditer(self.text))]
        ends = [match.start() + 1 for match in BOUNDARY.finditer(self.text)]
        self.ends = [*ends, len(self.text)]

    def run(self) -> bool:
        """Repair every event; return whether enough of the text is valid then."""
        if self.begins[0] < 0:
            return False
        number = 0
        while number < len(self.begins):
            number = self.repair_event(number)
            if self.skipped > max(FEWEST_SKIPPED, MOST_SKIPPED * len(self.begins)):
                return False
        return True

    def repair_event(self, number: int) -> int:
        """Repair the event that begins with this chunk; return the number of the chunk after it."""
        begin = self.begins[number]
        beyond = min(number + MOST_CHUNKS, len(self.ends))
        for last in range(number, beyond):
            at_end = last == len(self.ends) - 1
            event = self.text[begin : self.ends[last]]
            if self.is_valid(event, at_end=at_end):
                return last + 1
            goes_on = self.is_cut_off(event)
            for repair in REPAIRS:
                repaired, counts = repair(event)
                goes_on = goes_on or self.is_cut_off(repaired)
                if repaired != event and self.is_valid(repaired, at_end=at_end):
                    self.replace(begin, repaired, counts)
                    return last + 1
            if not goes_on:
                break
        self.skip(number)
        return number + 1

    def is_valid(self, event: bytes, *, at_end: bool) -> bool:
        """Return whether the text is an event. The last may be cut off, or be followed by the end
        of the array.
        """
        try:
            self.decode(event)
        except msgspec.ValidationError:
            return True  # valid JSON in another shape
        except msgspec.DecodeError as error:
            is_end = TRAILING.search(str(error)) is not None or "truncated" in str(error)
            return at_end and is_end
        except (UnicodeDecodeError, RecursionError):
            return False
        return True

    def is_cut_off(self, event: bytes) -> bool:
        """Return whether the text is the begin of an event."""
        try:
            self.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return "truncated" in str(error)
        return False

    def replace(self, begin: int, event: bytes, counts: dict[str, int]) -> None:
        """Put a repaired event into the text."""
        self.repaired[begin : begin + len(event)] = event
        for invariant, count in counts.items():
            self.counts[invariant] = self.counts.get(invariant, 0) + count

    def skip(self, number: int) -> None:
        """Make an event empty that cannot be repaired."""
        begin, end = self.begins[number], self.ends[number]
        if number == len(self.ends) - 1:
            array_end = ARRAY_END.search(self.text, begin)
            if array_end is None:
                self.skipped = len(self.begins) + FEWEST_SKIPPED
                return
            end = array_end.start() + 1
        self.skipped += 1
        self.replace(begin, b"{}".ljust(end - begin), {INVALID_TEXT: 1})


def with_plain_values(event: bytes) -> tuple[bytes, dict[str, int]]:
    """Return the event with an empty text for each number that is not finite, question marks for
    bytes that are not UTF-8, and the replacement character for halves of surrogate pairs.
    """
    text, count = NOT_A_NUMBER.subn(lambda match: b'""'.ljust(len(match[0])), event)
    plain = ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], text)
    plain = plain.decode("utf-8", QUESTION_MARKS).encode()
    return plain, {NOT_FINITE: count, INVALID_TEXT: int(plain != text)}


def with_plain_name(event: bytes) -> tuple[bytes, dict[str, int]]:
    """Return the same with a slash for each backslash of the name that is not escaped, apostrophes
    for quotes, and question marks for control characters.
    """
    plain, counts = with_plain_values(event)
    begin = NAME_BEGIN.search(plain)
    end = NAME_END.search(plain, begin.end()) if begin is not None else None
    if begin is not None and end is not None:
        name = plain_name(plain[begin.end() : end.start()])
        plain = plain[: begin.end()] + name + plain[end.start() :]
    return plain.translate(SPACES_FOR_CONTROLS), {**counts, INVALID_TEXT: 1}


def plain_name(name: bytes) -> bytes:
    """Return a name as the text of a JSON string."""
    if WRONG_ESCAPE.search(name) or name.endswith(b"\\"):
        name = RAW_BACKSLASH.sub(lambda match: match[1] or b"/", name)
    name = RAW_QUOTE.sub(lambda match: match[1] or b"'", name)
    return name.translate(MARKS_FOR_CONTROLS)


def without_arguments(event: bytes) -> tuple[bytes, dict[str, int]]:
    """Return the same without the arguments of the event, up to the end of the text."""
    plain, counts = with_plain_name(event)
    found = ARGUMENTS.search(plain)
    if found is None:
        return plain, counts
    rest = len(plain) - found.start()
    return plain[: found.start()] + b"}".ljust(rest), counts


REPAIRS: Final = (with_plain_values, with_plain_name, without_arguments)
"""Tried in this order, until the event is valid."""


def replace_with_question_marks(error: UnicodeError) -> tuple[str, int]:
    """Return as many question marks as there are bytes that cannot be decoded."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "?" * (error.end - error.start), error.end


QUESTION_MARKS: Final = "perfscope-question-marks"
codecs.register_error(QUESTION_MARKS, replace_with_question_marks)
