"""The Diagnosis: what `--json` prints and every screen shows. The published JSON Schema is
generated from these structs.
"""

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """What bounds the run: a finding's id, `healthy` or `unknown`."""

    id: str
    cause: str | None
    headline: str
    explanation: str
    caveat: str | None
    confidence: float


class BoundBy(msgspec.Struct, frozen=True):
    """The resource that limits the run now: compute, memory-bandwidth, input, host, communication,
    checkpoint or unknown.
    """

    id: str
    share: float | None
    confidence: float


class StepSummary(msgspec.Struct, frozen=True):
    """Steady training (or inference) steps of the critical rank; times in milliseconds, null
    without steps.

    `source` is what they were told from in a recorded trace (marks, ranges, a period), null in
    recordings of our own.
    """

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    distorted: int
    source: str | None = None


class BudgetEntry(msgspec.Struct, frozen=True):
    """One category of the time budget; the shares of a budget sum to 1."""

    category: str
    seconds: float
    share: float


class RankBudget(msgspec.Struct, frozen=True):
    """The budget of one rank; `host` where the job has several."""

    rank: int
    time_budget: list[BudgetEntry]
    host: str | None = None


class Speedup(msgspec.Struct, frozen=True):
    """Predicted step-time factor when the cause is removed; low and likely are null where only the
    ceiling is known.
    """

    low: float | None
    likely: float | None
    high: float


class Evidence(msgspec.Struct, frozen=True):
    """One fact a finding rests on, with the place on the timeline that shows it."""

    text: str
    value: float | None = None
    unit: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    rank: int | None = None
    process: int | None = None
    lane: str | None = None
    device: int | None = None


class Action(msgspec.Struct, frozen=True):
    """What to change, with a line of code where one helps."""

    text: str
    snippet: str | None = None


class Message(msgspec.Struct, frozen=True):
    """What a finding claims: a headline of one line without a full stop, what was measured, and
    what it does not mean.
    """

    headline: str
    explanation: str = ""
    caveat: str | None = None


class Finding(msgspec.Struct, frozen=True):
    """One thing that costs time (or will): severity is `critical`, `warning` or `info`."""

    id: str
    cause: str | None
    severity: str
    rank: int | None
    lost_s: float
    share: float
    speedup: Speedup | None
    headline: str
    evidence: list[Evidence]
    actions: list[Action]
    explanation: str = ""
    caveat: str | None = None


class Clear(msgspec.Struct, frozen=True):
    """A finding that was looked for and is not there."""

    id: str


class NotApplicable(msgspec.Struct, frozen=True):
    """A finding that could not be looked for, and why."""

    id: str
    reason: str


class Failed(msgspec.Struct, frozen=True):
    """A finding whose rule broke; the others went on."""

    id: str
    error: str


class Source(msgspec.Struct, frozen=True):
    """A source of evidence: status ok, partial, off, unavailable or failed."""

    name: str
    status: str
    reason: str | None
    overhead_share: float | None


class Operator(msgspec.Struct, frozen=True):
    """An operator inside windows of torch's profiler, by phase (forward, backward, optimizer,
    other) and shapes.

    Milliseconds per call inside the window, where everything takes longer; `share` is of the own
    time of all its rank's operators (device time where there is a device).
    """

    rank: int
    phase: str
    name: str
    shapes: str
    count: int
    host_ms: float
    host_self_ms: float
    device_ms: float | None
    share: float


class OverheadPart(msgspec.Struct, frozen=True):
    """Time that the run lost to one part of the recording."""

    name: str
    seconds: float


class Overhead(msgspec.Struct, frozen=True, rename={"during": "while"}):
    """By what share of its time the run was slower while it was recorded; `low` and `high` enclose
    it with 95 % confidence.

    `before` and `after` are steps per second in moments in which steps were only counted, in the
    first and the second half of the recording; `while` is over all its steps. Null without enough
    steps. `low` can be below zero: that is noise.
    """

    share: float
    low: float
    high: float
    before: float | None
    during: float | None
    after: float | None
    parts: list[OverheadPart]


class Diagnosis(msgspec.Struct, frozen=True):
    """The whole answer. `budget_over` says what the budget is of: the steady `steps`, or the whole
    `span`. `in_a_row`: processes of `per_rank` ran one after the other, and `rank` only numbers
    them.
    """

    schema: int
    verdict: Verdict
    bound_by: BoundBy
    span_s: float
    steps: StepSummary
    time_budget: list[BudgetEntry]
    budget_rank: int | None
    per_rank: list[RankBudget]
    findings: list[Finding]
    clear: list[str]
    not_applicable: list[NotApplicable]
    failed: list[Failed]
    sources: list[Source]
    dropped: list[str]
    run: str | None
    budget_over: str = "steps"
    operators: list[Operator] = []
    in_a_row: bool = False
    overhead: Overhead | None = None
    ignored: list[Finding] = []
