"""The fields of a Kineto event that are read, and the decoding of a piece of text into a list of
events.

All fields are `Any`: writers differ in what they give as number or text, and one wrong value must
not lose the others.
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from perfscope.traces.kineto.columns import as_text
from perfscope.traces.kineto.repaired_text import TRAILING, with_repaired_events

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


@dataclass
class Decoded:
    """The events of a JSON array."""

    events: list[KinetoEvent]
    text: bytes
    """The text of the array, repaired where it was not valid JSON; as long as it was."""
    texts: list[Raw] | None = None
    """The text of each event where they were decoded one by one."""
    no_objects: int = 0
    """How many values were left out because they are not objects."""
    violations: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many events were repaired, by invariant."""


def decode_events(text: bytes) -> Decoded:
    """Return the events of a JSON array. Raises msgspec.DecodeError where it is not JSON."""
    violations: dict[str, int] = {}
    try:
        return Decoded(EVENT_LIST.decode(text), text)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error) or TRAILING.search(str(error)):
            raise
        text, violations = with_repaired_events(text, error, SINGLE_EVENT.decode)
    try:
        return Decoded(EVENT_LIST.decode(text), text, violations=violations)
    except msgspec.ValidationError:
        return decode_one_by_one(text, violations)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def decode_one_by_one(text: bytes, violations: dict[str, int]) -> Decoded:
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
    return Decoded(events, text, texts, left_out, violations)


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


def metadata_row(event: KinetoEvent) -> tuple[Any, Any, str, str | None]:
    """Return (pid, tid, what, value) of a metadata event: the name of a process or thread, or the
    labels of a device.
    """
    args = event.args or NO_ARGS
    what = event.name if isinstance(event.name, str) else ""
    value = args.labels if args.labels is not None else args.name
    pid, tid = (
        code if isinstance(code, int | float | str) else None for code in (event.pid, event.tid)
    )
    return pid, tid, sys.intern(what), as_text(value)
