"""What the probe in one process has sent: it goes to the streams of that process."""

import array

from perfscope.agent.collector import Job, TargetProcess
from perfscope.agent.delivery.probe_notes import (
    ByeNote,
    ClockNote,
    CostNote,
    CountingBlockNote,
    FailedNote,
    ForgottenStacksNote,
    HelloNote,
    InstalledNote,
    NameNote,
    Note,
    RefusedNote,
    StackSampleNote,
    StackTextNote,
    TorchNote,
    UpdatesNote,
    WindowNote,
    WindowRefusedNote,
)
from perfscope.agent.recording.step_counter import StepCounter
from perfscope.traces.run_folder.events import COLUMNS, WIDTH
from perfscope.traces.run_folder.manifest import TorchFacts

SHORTEST_SPAN_NS = 100_000_000
PLACE = ".py:"
"""In the names of things that are named after frames."""
MOST_STACK_NAMES = 20_000
"""Five times what a probe keeps at a time; it reports the stacks that it forgets."""


class ProbeSession:
    """The probe of one process, from its first note to its last."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        self.target = target
        self.lines = job.program_lines
        self.records = job.run.arrow("probe.records", target.process, COLUMNS)
        self.names = job.run.jsonl("probe.names", target.process)
        self.stacks = job.run.jsonl("probe.stacks", target.process)
        self.clock = job.run.jsonl("clock", target.process)
        self.blocks = job.run.jsonl("probe.blocks", target.process)
        self.install_ns = 0
        self.stack_names: dict[int, str] = {}
        self.steps = StepCounter()
        self.count = 0
        """Number of records."""
        self.cost_ns = 0.0
        """What one record costs the recorded thread."""
        self.busy_ns = 0
        """CPU time of the probe's own thread."""
        self.span_ns = 0
        """How long the probe was installed."""
        self.dropped = 0
        self.worker: int | None = None
        self.refused: str | None = None
        self.failed: list[str] = []
        self.windows: list[WindowNote | WindowRefusedNote] = []
        self.has_left = False
        self.torch: TorchFacts | None = None

    def take_hello(self, hello: HelloNote) -> None:
        """Keep what the probe knows about its process."""
        self.cost_ns = hello.cost_ns
        self.worker = hello.worker
        self.torch = hello.torch

    def take_records(self, records: "array.array[int]") -> None:
        """Write records, flat rows of events.WIDTH values."""
        if len(records):
            self.count += len(records) // WIDTH
            self.steps.count(records)
            self.records.append(records)

    def take_note(self, note: Note) -> None:
        """Keep what one note reports: a name, a sample, a window, or the state of the probe."""
        match note:
            case WindowNote() | WindowRefusedNote():
                self.windows.append(note)
            case StackSampleNote() | StackTextNote() | ForgottenStacksNote():
                self.take_stack(note)
            case CountingBlockNote(begin_ns, end_ns):
                self.blocks.append({"ts": begin_ns, "dur": end_ns - begin_ns})
            case NameNote(code, kind, name, details):
                self.names.append({"code": code, "kind": kind, "name": name, **details})
                if PLACE in name:
                    self.lines.add(self.target.process, name)
            case InstalledNote(cpu_ns):
                self.install_ns = cpu_ns
            case UpdatesNote(count, ended_ns):
                self.steps.updates.reported = (count, ended_ns)
            case TorchNote(facts):
                self.torch = facts
            case RefusedNote(reason):
                self.refused = reason
            case FailedNote(name, error):
                self.failed.append(f"{name} ({error})")
            case CostNote(busy_ns, span_ns):
                self.busy_ns, self.span_ns = busy_ns, span_ns
            case ByeNote():
                self.has_left = True
                self.dropped += note.dropped
        if isinstance(note, (HelloNote, ClockNote, ByeNote)):
            self.clock.append({"mono": note.mono, "real": note.real})

    def take_stack(self, note: StackSampleNote | StackTextNote | ForgottenStacksNote) -> None:
        """Keep a sample, or the texts that samples refer to."""
        match note:
            case StackSampleNote(ts, tid, weight_ns, stack):
                text = self.stack_names.get(stack)
                if text is not None:
                    row = {"ts": ts, "tid": tid, "weight_ns": weight_ns, "stack": text}
                    self.stacks.append(row)
            case StackTextNote(number, text):
                if len(self.stack_names) < MOST_STACK_NAMES:
                    self.stack_names[number] = text
                    self.lines.add(self.target.process, text)
            case ForgottenStacksNote(numbers):
                for number in numbers:
                    self.stack_names.pop(number, None)

    @property
    def overhead_share(self) -> float | None:
        """CPU time that the probe cost, as a share of the time that it was installed.

        None where it was installed so briefly that a share means nothing.
        """
        if self.span_ns < SHORTEST_SPAN_NS:
            return None
        return (self.count * self.cost_ns + self.busy_ns) / self.span_ns
