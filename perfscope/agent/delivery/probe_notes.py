"""The notes that a probe sends to the agent: small JSON objects, each of one of these types.

The field `note` names the type. The probe writes the same objects as plain dicts, because perfscope
cannot be imported in the target. Fields that a type does not list are ignored.
"""

from typing import Annotated, TypeAlias

import msgspec

from perfscope.traces.run_folder.manifest import TorchFacts

Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Detail: TypeAlias = Int64 | bool | list[Int64 | None] | None


class TaggedNote(msgspec.Struct, tag_field="note"):
    """A note; the types below extend it."""


class NoteWithFile(TaggedNote, kw_only=True):
    """A note that may come with an open file, `descriptor` on the agent's side (-1: none).

    `ProbeConnection` sets `descriptor` for each received note; a value in the JSON is overwritten.
    """

    has_file: bool = False
    descriptor: int = -1


class HelloNote(TaggedNote, tag="hello"):
    """The first note of a probe: its token, and what is known about its process."""

    token: str
    mono: Int64
    real: Int64
    worker: Int64 | None = None
    cost_ns: float = 0.0
    """What one record costs the recorded thread."""
    torch: TorchFacts | None = None


class RefusedNote(TaggedNote, tag="refused"):
    """The probe leaves again without having changed anything."""

    reason: str


class InstalledNote(TaggedNote, tag="installed"):
    """All parts of the probe are installed, which took `cpu_ns` of CPU time."""

    cpu_ns: Int64 = 0


class ClockNote(TaggedNote, tag="clock"):
    """CLOCK_MONOTONIC and CLOCK_REALTIME at one moment, in nanoseconds."""

    mono: Int64
    real: Int64


class NameNote(TaggedNote, tag="name"):
    """The name of a loader, iterator, module, optimizer, ..., which records refer to by `code`."""

    code: Int64
    kind: str
    name: str
    details: dict[str, Detail] = {}


class StackTextNote(TaggedNote, tag="stack-text"):
    """The text of a Python stack, which samples refer to by `number`."""

    number: Int64
    text: str


class StackSampleNote(TaggedNote, tag="stack-sample"):
    """One sample of the Python stack of thread `tid` at `ts`, for `weight_ns` of its time."""

    ts: Int64
    tid: Int64
    weight_ns: Int64
    stack: Int64


class ForgottenStacksNote(TaggedNote, tag="forgotten-stacks"):
    """Numbers of stacks that the probe will not use again."""

    numbers: list[Int64]


class CountingBlockNote(TaggedNote, tag="counting-block"):
    """A block of time in which the probe did not wake (`agent.probe.counting_blocks`)."""

    begin_ns: Int64
    end_ns: Int64


class UpdatesNote(TaggedNote, tag="updates"):
    """Optimizer step number `count` ended at `ended_ns`."""

    count: Int64
    ended_ns: Int64


class TorchNote(TaggedNote, tag="torch"):
    """The state of torch in the process has changed."""

    torch: TorchFacts


class FailedNote(TaggedNote, tag="failed"):
    """A function of the probe raised `error` and is not called again."""

    name: str
    error: str


class CostNote(TaggedNote, tag="cost"):
    """CPU time of the probe's own thread, and how long the probe was installed."""

    busy_ns: Int64
    span_ns: Int64


class ByeNote(TaggedNote, tag="bye"):
    """The last note: records lost, and patches that could not be removed yet."""

    mono: Int64
    real: Int64
    dropped: Int64 = 0
    stuck: list[str] = []


class WindowNote(NoteWithFile, tag="window", kw_only=True):
    """A recorded window of torch's profiler; the file is its trace.

    Times are nanoseconds of CLOCK_MONOTONIC, except `real`. They come in this order: `mono`
    (`real` at the same moment) and `first` when the window was prepared, `begin` and `end` of
    recording, `off` when the profiler was off, `last` when the trace was written.
    """

    mono: Int64
    real: Int64
    first: Int64
    begin: Int64
    end: Int64
    off: Int64
    last: Int64
    steps: Int64
    whole: bool
    """Whether all the requested steps are in it."""
    bytes: Int64
    hurried: bool
    """Whether it was cut short for a profiler of the program's own."""
    stall: Int64 | None
    """How long ending the window delayed one step; None if unknown."""
    gil: bool
    """Whether it was ended with the GIL held."""
    updates: Int64
    device: bool
    prepare: Int64
    enable: Int64

    def row(self) -> dict[str, Int64 | bool | None]:
        """Return the row of the run folder's stream `kernels`, still without the file name."""
        sent_only = ("has_file", "descriptor")
        fields = msgspec.structs.asdict(self)
        return {name: value for name, value in fields.items() if name not in sent_only}


class WindowRefusedNote(NoteWithFile, tag="window-refused", kw_only=True):
    """No window was recorded; `later`: try again soon, `for_good`: never try again."""

    reason: str
    later: bool = False
    for_good: bool = False


class NvtxRingNote(NoteWithFile, tag="nvtx-ring", kw_only=True):
    """The first and only note of the NVTX library (`agent.nvtx`); the file is its ring."""

    token: str


Note: TypeAlias = (
    HelloNote
    | RefusedNote
    | InstalledNote
    | ClockNote
    | NameNote
    | StackTextNote
    | StackSampleNote
    | ForgottenStacksNote
    | CountingBlockNote
    | UpdatesNote
    | TorchNote
    | FailedNote
    | CostNote
    | ByeNote
    | WindowNote
    | WindowRefusedNote
    | NvtxRingNote
)

DECODER = msgspec.json.Decoder(list[Note])
