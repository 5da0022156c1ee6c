"""The fields of a Kineto event that are read, and the decoding of a piece of text into a list of
events.

All fields are `Any`: writers differ in what they give as number or text, and one wrong value must
not lose the others.
"""

import codecs
import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

NOT_A_NUMBER: Final = re.compile(rb"(?<=[:\[,\s])-?(?:NaN|Infinity)(?=\s*[,}\]])")
ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
"""Every escape of a text in turn, so that the second backslash of `\\\\u` does not begin one. Group
1 is half a surrogate pair on its own.
"""
TRAILING: Final = re.compile(r"trailing characters \(byte (\d+)\)")
EVENT_FIELDS: Final = ("ph", "cat", "name", "pid", "tid", "ts", "dur")


class Args(Struct, gc=False):
    """The arguments of events of all kinds. Arguments that are not listed are not parsed."""

    correlation: Any = None
    device: Any = None
    stream: Any = None
    bytes: Any = None
    kind: Any = None
    size: Any = None
    direction: Any = None
    dtype: Any = None
    name: Any = None
    labels: Any = None
    stream_id: Any = None
    sequence: Any = field(name="Sequence number", default=None)
    forward_tid: Any = field(name="Fwd thread id", default=None)
    dims: Raw = field(name="Input Dims", default=Raw())
    types: Raw = field(name="Input type", default=Raw())
    strides: Raw = field(name="Input Strides", default=Raw())
    concrete: Raw = field(name="Concrete Inputs", default=Raw())
    grid: Raw = Raw()
    block: Raw = Raw()
    occupancy: Any = field(name="est. achieved occupancy %", default=None)
    memory_bytes: Any = field(name="Bytes", default=None)
    allocated: Any = field(name="Total Allocated", default=None)
    reserved: Any = field(name="Total Reserved", default=None)
    device_id: Any = field(name="Device Id", default=None)
    device_type: Any = field(name="Device Type", default=None)
    collective: Any = field(name="Collective name", default=None)
    sent: Any = field(name="In msg nelems", default=None)
    received: Any = field(name="Out msg nelems", default=None)
    group: Any = field(name="Process Group Name", default=None)
    ranks: Any = field(name="Process Group Ranks", default=None)
    group_size: Any = field(name="Group size", default=None)


class KinetoEvent(Struct, gc=False):
    """One event of a Kineto trace."""

    ph: Any = None
    cat: Any = None
    name: Any = None
    pid: Any = None
    tid: Any = None
    ts: Any = None
    dur: Any = None
    args: Args | None = None


class TimesAsText(Struct, gc=False):
    """The times of an event as text, for numbers that a float cannot hold to the nanosecond."""

    ts: Raw = field(default=Raw())
    dur: Raw = field(default=Raw())


NO_ARGS: Final = Args()
EVENT_LIST: Final = msgspec.json.Decoder(list[KinetoEvent])
RAW_LIST: Final = msgspec.json.Decoder(list[Raw])
SINGLE_EVENT: Final = msgspec.json.Decoder(KinetoEvent)
ANY_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
TIMES_LIST: Final = msgspec.json.Decoder(list[TimesAsText])

Decoded = tuple[list[KinetoEvent], list[Raw] | None, int]
"""(events, the text of each event where they were decoded one by one, how many were left out
because they are not objects).
"""


def decode_events(text: bytes) -> Decoded:
    """Return the events of a JSON array. Raises msgspec.DecodeError where it is not JSON."""
    try:
        return EVENT_LIST.decode(text), None, 0
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error) or TRAILING.search(str(error)):
            raise
        text = repaired(text)
    try:
        return EVENT_LIST.decode(text), None, 0
    except msgspec.ValidationError:
        return decode_one_by_one(text)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def repaired(text: bytes) -> bytes:
    """Return the text without what some writers put into JSON although it is invalid.

    NaN and infinity become an empty string, bytes that are not UTF-8 question marks, and halves of
    surrogate pairs the replacement character. The length does not change, so that positions in the
    text stay valid.
    """
    text = NOT_A_NUMBER.sub(lambda match: b'""'.ljust(len(match[0])), text)
    text = ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], text)
    return text.decode("utf-8", QUESTION_MARKS).encode()


def replace_with_question_marks(error: UnicodeError) -> tuple[str, int]:
    """Return as many question marks as there are bytes that cannot be decoded."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "?" * (error.end - error.start), error.end


QUESTION_MARKS: Final = "perfscope-question-marks"
codecs.register_error(QUESTION_MARKS, replace_with_question_marks)


def decode_one_by_one(text: bytes) -> Decoded:
    """Return the events of an array in which some have an unexpected shape.

    Events whose arguments are not an object are returned without arguments, and values that are not
    objects are left out.
    """
    events, texts, left_out = [], [], 0
    try:
        raw_events = RAW_LIST.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    for raw in raw_events:
        event = decode_any_event(raw)
        if event is None:
            left_out += 1
        else:
            events.append(event)
            texts.append(raw)
    return events, texts, left_out


def decode_any_event(raw: Raw) -> KinetoEvent | None:
    """Return one event, without its arguments where these are not an object; None for a value that
    is not an object.
    """
    try:
        return SINGLE_EVENT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        fields = ANY_OBJECT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return KinetoEvent(*(fields.get(name) for name in EVENT_FIELDS))


def metadata_row(event: KinetoEvent) -> tuple[Any, Any, str, Any]:
    """Return (pid, tid, what, value) of a metadata event: the name of a process or thread, or the
    labels of a device.
    """
    args = event.args or NO_ARGS
    what = event.name if isinstance(event.name, str) else ""
    value = args.labels if args.labels is not None else args.name
    return event.pid, event.tid, what, value
