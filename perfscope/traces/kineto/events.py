"""One event of a Kineto trace as far as it is read, and how a piece of text becomes a list of them.

All values are `Any`: writers differ in what they give as number or text, and a wrong one must not
cost the others.
"""

import codecs
import re
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

NOT_JSON = re.compile(rb"(?<=[:\[,\s])-?(?:NaN|Infinity)(?=\s*[,}\]])")
# Every escape in turn, so that an escaped backslash before a `u` is not taken for one; the group:
# half a pair alone.
ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)")
TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")


class Args(Struct, gc=False):
    """Arguments of all kinds of events; what is not asked for is skipped unparsed."""

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


class Event(Struct, gc=False):
    """One event."""

    ph: Any = None
    cat: Any = None
    name: Any = None
    pid: Any = None
    tid: Any = None
    ts: Any = None
    dur: Any = None
    args: Args | None = None


class Exact(Struct, gc=False):
    """The times of an event as text, for traces whose numbers a float cannot hold to the
    nanosecond.
    """

    ts: Raw = field(default=Raw())
    dur: Raw = field(default=Raw())


NO_ARGS = Args()
EVENTS = msgspec.json.Decoder(list[Event])
RAW = msgspec.json.Decoder(list[Raw])
ONE = msgspec.json.Decoder(Event)
WITHOUT_ARGS = msgspec.json.Decoder(dict[str, Any])
EXACT = msgspec.json.Decoder(list[Exact])


def decoded(text: bytes) -> tuple[list[Event], list[Raw] | None, int]:
    """(events, None or their texts where each was parsed alone, events left out because they are no
    objects).

    `text` is an array in brackets. Raises msgspec.DecodeError where that is no JSON.
    """
    try:
        return EVENTS.decode(text), None, 0
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error) or TRAILING.search(str(error)):
            raise
        text = mended(text)
    try:
        return EVENTS.decode(text), None, 0
    except msgspec.ValidationError:
        return one_by_one(text)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def mended(text: bytes) -> bytes:
    """Without what some writers put into JSON that does not belong there: NaN and infinity become
    an empty text, bytes that are no UTF-8 question marks, halves of surrogate pairs the replacement
    character. As long as before, so that what follows stays where it was.
    """
    text = NOT_JSON.sub(lambda found: b'""'.ljust(len(found[0])), text)
    text = ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)
    return text.decode("utf-8", QUESTION_MARKS).encode()


def question_marks(error: UnicodeError) -> tuple[str, int]:
    """As many as there are bytes that cannot be decoded."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "?" * (error.end - error.start), error.end


QUESTION_MARKS = "perfscope-question-marks"
codecs.register_error(QUESTION_MARKS, question_marks)


def one_by_one(text: bytes) -> tuple[list[Event], list[Raw] | None, int]:
    """Where some events have the wrong shape: the others, and those without arguments that are
    none.
    """
    events, texts, left_out = [], [], 0
    try:
        raws = RAW.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    for raw in raws:
        try:
            event = ONE.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:
                whole = WITHOUT_ARGS.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                left_out += 1
                continue
            event = Event(
                *(whole.get(name) for name in ("ph", "cat", "name", "pid", "tid", "ts", "dur"))
            )
        events.append(event)
        texts.append(raw)
    return events, texts, left_out


def meta(event: Event) -> tuple[Any, Any, str, Any]:
    """(pid, tid, what, value) of a metadata event: names of processes and threads, labels of
    devices.
    """
    args = event.args or NO_ARGS
    return (
        event.pid,
        event.tid,
        event.name if isinstance(event.name, str) else "",
        args.labels if args.labels is not None else args.name,
    )
