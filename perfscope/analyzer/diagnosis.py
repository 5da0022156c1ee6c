"""The Diagnosis: what `--json` prints and every screen shows.

The published JSON Schema (docs/diagnosis.schema.json) is generated from these structs. Times are
seconds (`_s`), milliseconds (`_ms`) or nanoseconds on the recording's own clock (`_ns`); ids and
enum values are kebab-case. docs/stability.md says what may change.
"""

from typing import Literal

import msgspec

from perfscope.analyzer.request_figures import Latency as Latency
from perfscope.analyzer.request_figures import Percentiles as Percentiles
from perfscope.analyzer.request_figures import Requests as Requests
from perfscope.analyzer.request_figures import RequestStage as RequestStage
from perfscope.analyzer.request_figures import ServerFigures as ServerFigures
from perfscope.analyzer.request_figures import ServiceLevel as ServiceLevel

SCHEMA = "2.0"

Workload = Literal["training", "inference", "server", "unknown"]
VerdictKind = Literal["finding", "general", "healthy", "unknown"]
Scope = Literal["steps", "run", "requests"]
NotCheckedGroup = Literal[
    "no-device",
    "no-driver",
    "no-kernels",
    "one-process",
    "too-short",
    "not-calibrated",
    "not-permitted",
    "not-in-this-format",
    "no-requests",
    "no-engine-metrics",
    "other",
]


class Interval(msgspec.Struct, frozen=True):
    """An estimate with the bounds of its 95 % interval."""

    low: float
    likely: float
    high: float


class CodeLocation(msgspec.Struct, frozen=True):
    """A line of the user's code, and its share of the scope of what it explains."""

    function: str
    file: str
    line: int
    text: str | None
    process: int
    share: Interval

    @property
    def place(self) -> str:
        """The line as `log (train.py:7)`."""
        return f"{self.function} ({self.file}:{self.line})"


class Process(msgspec.Struct, frozen=True):
    """A recorded process. `process` is the number that all other fields refer to."""

    process: int
    pid: int
    host: str
    role: str
    rank: int | None
    command: str


class Device(msgspec.Struct, frozen=True):
    """An accelerator that the recorded processes used; `device` is its number on `host`."""

    device: int
    host: str
    uuid: str | None
    name: str | None
    processes: list[int]


class Verdict(msgspec.Struct, frozen=True):
    """What bounds the run: `id` is a finding's id, `healthy`, `unknown` or a general answer.

    `kind` says which of these it is, `finding_key` which finding. `confidence` is between 0 and 1.
    """

    id: str
    cause: str | None
    headline: str
    explanation: str
    caveat: str | None
    confidence: float
    kind: VerdictKind = "unknown"
    scope: Scope = "steps"
    finding_key: str | None = None
    where: CodeLocation | None = None


class BoundBy(msgspec.Struct, frozen=True):
    """The resource that limits the run now, its share of the time budget, and how certain that is.

    `id`: compute, memory-bandwidth, memory-capacity, input, host, communication, checkpoint,
    admission, none or unknown.
    """

    id: str
    share: float | None
    confidence: float


class RunPhase(msgspec.Struct, frozen=True):
    """Seconds that a run spent in one phase, exclusive of the others; the phases sum to `span_s`.

    `process` is the process that the phases are those of.
    """

    phase: str
    seconds: float
    share: float
    process: int | None = None
    where: CodeLocation | None = None


class SlowStep(msgspec.Struct, frozen=True):
    """One of the slowest steps, and the category of the time budget that made it slow."""

    index: int
    start_ns: int
    ms: float
    category: str | None
    where: CodeLocation | None = None


class StepSummary(msgspec.Struct, frozen=True):
    """Steady steps of the critical process; times in milliseconds, null without steps.

    `source` names what the steps of a profiler's trace were found by (marks, ranges, a period); it
    is null in recordings of perfscope's own. `unit`: training-step, forward or engine-iteration.
    """

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    distorted: int
    source: str | None = None
    unit: str = "training-step"
    slowest: list[SlowStep] = []


class Rate(msgspec.Struct, frozen=True):
    """One figure of the throughput, of the whole job unless `scope` says otherwise.

    `value` is null where it is not known; `reason` then says why.
    """

    value: float | None
    scope: str | None = None
    source: str | None = None
    reason: str | None = None


class Throughput(msgspec.Struct, frozen=True):
    """Work per second; `mfu` is the share of the device's peak arithmetic that the model uses."""

    steps_per_s: Rate
    samples_per_s: Rate
    tokens_per_s: Rate
    mfu: Rate


class BudgetEntry(msgspec.Struct, frozen=True):
    """One category of the time budget; the shares of a budget sum to 1."""

    category: str
    seconds: float
    share: float


class ProcessBudget(msgspec.Struct, frozen=True):
    """The time budget of one process; `rank` is null where the process has none.

    A process that drives several devices has one entry per device.
    """

    process: int
    rank: int | None
    time_budget: list[BudgetEntry]


class Speedup(msgspec.Struct, frozen=True):
    """Predicted speedup without the cause; `low` and `likely` are null: only a ceiling is known."""

    low: float | None
    likely: float | None
    high: float


class Evidence(msgspec.Struct, frozen=True):
    """A fact that a finding rests on, with the place on the timeline that shows it."""

    text: str
    value: float | None = None
    unit: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    process: int | None = None
    lane: str | None = None
    device: int | None = None


class Precondition(msgspec.Struct, frozen=True):
    """What holds in this recording so that an action is advised, and what was seen of it."""

    id: str
    evidence: str


class Prediction(msgspec.Struct, frozen=True):
    """What an action is expected to change: `before` now, `low` to `high` afterwards."""

    metric: str
    before: float
    low: float
    likely: float | None
    high: float


class Action(msgspec.Struct, frozen=True):
    """A change to make, with a line of code where one helps, and why it applies here."""

    id: str
    text: str
    precondition: Precondition
    snippet: str | None = None
    predictions: list[Prediction] = []


class Finding(msgspec.Struct, frozen=True):
    """Something that costs time (or will); `severity` is `critical`, `warning` or `info`.

    `share` is the part of the time in `scope` that it costs, `share_of_run` the part of the whole
    recording. `key` is unique in a diagnosis. `headline` is one line without a full stop.
    """

    id: str
    cause: str | None
    severity: str
    lost_s: float
    share: float
    speedup: Speedup | None
    headline: str
    evidence: list[Evidence]
    actions: list[Action]
    explanation: str = ""
    caveat: str | None = None
    processes: list[int] = []
    devices: list[int] = []
    scope: Scope = "steps"
    share_of_run: float = 0.0
    key: str = ""
    where: CodeLocation | None = None


class Message(msgspec.Struct, frozen=True):
    """What a finding claims: a headline without a full stop, what was measured, and its limits."""

    headline: str
    explanation: str = ""
    caveat: str | None = None


class Clear(msgspec.Struct, frozen=True):
    """A finding that was checked and is not there."""

    id: str


class NotChecked(msgspec.Struct, frozen=True):
    """A finding that could not be checked in this recording, why, and the kind of reason."""

    id: str
    reason: str
    group: NotCheckedGroup = "other"


class Failed(msgspec.Struct, frozen=True):
    """A finding whose rule raised an error; the other rules ran."""

    id: str
    error: str


class Source(msgspec.Struct, frozen=True):
    """A source of evidence; `status` is ok, partial, off, unavailable or failed."""

    name: str
    status: str
    reason: str | None
    overhead_share: float | None


class DataQuality(msgspec.Struct, frozen=True):
    """An invariant that the recording violates, how many events do, and what that affects."""

    invariant: str
    events: int
    effect: str
    text: str


class MemoryUse(msgspec.Struct, frozen=True):
    """The peak memory of a device, or of the host where `device` is null, in bytes."""

    device: int | None
    process: int | None
    peak_bytes: int
    limit_bytes: int | None
    headroom_bytes: int | None
    growth_bytes_per_step: float | None


class Operator(msgspec.Struct, frozen=True):
    """An operator inside profiling windows, by phase and shapes.

    Phases are forward, backward, optimizer and other. Milliseconds are per call inside the window,
    where every call takes longer. `share` is the part of the self time of all operators of its
    process (device time where there is a device).
    """

    process: int
    phase: str
    name: str
    shapes: str
    count: int
    host_ms: float
    host_self_ms: float
    device_ms: float | None
    share: float


class CodeCost(msgspec.Struct, frozen=True):
    """The time of one function of a process's thread, and of the functions that it called."""

    function: str
    file: str
    line: int
    text: str | None
    process: int
    thread: str
    phase: str
    self_s: float
    total_s: float
    share: Interval
    children: list["CodeCost"]


class ActionReference(msgspec.Struct, frozen=True):
    """An action of a finding, by the finding's key and the action's id."""

    finding: str
    action: str


class Combination(msgspec.Struct, frozen=True):
    """Several actions taken together, and what they are expected to change."""

    actions: list[ActionReference]
    predictions: list[Prediction]


class Replay(msgspec.Struct, frozen=True):
    """How well a replay of the recorded steps reproduces their measured time."""

    steps: int
    measured_ms: float
    replayed_ms: float
    error: float


class OverheadPart(msgspec.Struct, frozen=True):
    """Time that the run lost to one part of the recording."""

    name: str
    seconds: float


class Overhead(msgspec.Struct, frozen=True, rename={"during": "while"}):
    """The fraction by which the run was slower while it was recorded, with its 95 % interval.

    `before` and `after` are steps per second while steps were only counted, in the first and in the
    second half of the recording; `while` is over all steps. They are null without enough steps.
    `low` can be below zero because of noise.
    """

    share: float
    low: float
    high: float
    before: float | None
    during: float | None
    after: float | None
    parts: list[OverheadPart]


class Diagnosis(msgspec.Struct, frozen=True):
    """The whole answer.

    `time_budget` is that of `budget_process`, over its steady steps, or over the whole recording
    where `budget_over` is `span`. `sequential_processes`: the processes of `per_process` ran one
    after the other. Fields that later versions fill are null or empty.
    """

    schema: str
    perfscope: str
    run: str | None
    workload: Workload
    processes: list[Process]
    devices: list[Device]
    verdict: Verdict
    bound_by: BoundBy
    span_s: float
    run_budget: list[RunPhase]
    steps: StepSummary
    throughput: Throughput
    time_budget: list[BudgetEntry]
    budget_process: int | None
    budget_over: Literal["steps", "span"]
    per_process: list[ProcessBudget]
    sequential_processes: bool
    findings: list[Finding]
    memory: list[MemoryUse]
    clear: list[str]
    ignored: list[Finding]
    not_checked: list[NotChecked]
    failed: list[Failed]
    sources: list[Source]
    dropped: list[str]
    overhead: Overhead | None
    operators: list[Operator]
    data_quality: list[DataQuality] = []
    by_code: list[CodeCost] = []
    combined: list[Combination] = []
    requests: Requests | None = None
    replay: Replay | None = None

    @property
    def budget_rank(self) -> int | None:
        """The rank whose time budget `time_budget` is."""
        shown = (
            entry.rank
            for entry in self.per_process
            if entry.process == self.budget_process and entry.time_budget == self.time_budget
        )
        return next(shown, None)
