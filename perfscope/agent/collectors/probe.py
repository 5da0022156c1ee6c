"""Depth `probe`: enters every process of the job that runs torch, takes in what the probes report,
and sends them away again.
"""

import array
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from perfscope.agent.collector import Collector, Job, Need, TargetProcess
from perfscope.agent.collector_guard import attempt
from perfscope.agent.delivery.discarded import close_discarded, discard_files
from perfscope.agent.delivery.from_child import Entering, Report, enter_apart
from perfscope.agent.delivery.peers import TrustedUsers
from perfscope.agent.delivery.probe_bundle import bundle
from perfscope.agent.delivery.probe_line import MOST_UNAUTHENTICATED, ProbeLine, accept, listen
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
    NvtxRingNote,
    RefusedNote,
    StackSampleNote,
    StackTextNote,
    TorchNote,
    UpdatesNote,
    WindowNote,
    WindowRefusedNote,
)
from perfscope.agent.delivery.probe_socket import Door
from perfscope.agent.entry import check
from perfscope.agent.idle_priority import at_normal_priority
from perfscope.agent.profiler_windows.window import Window
from perfscope.agent.recording_plan import Plan
from perfscope.agent.step_counter import StepCounter
from perfscope.errors import CannotEnter, CollectorUnavailable
from perfscope.traces.calibrations import recall
from perfscope.traces.run.events import COLUMNS, WIDTH
from perfscope.traces.run.manifest import ProbeCost, SourceStatus, TorchFacts

ENTERING_NS = 20_000_000
HEARTBEAT_NS = 1_000_000_000
ENTRY_DEADLINE_S = 10.0
FAREWELL_S = 2.0
MOST_ENTRIES_AT_ONCE = 4
ROOT_PATIENCE_S = 15.0
TELLS_COST_NS = 100_000_000
MOST_STACK_NAMES = 20_000
"""Five times what a probe knows at once: it lets the agent forget what it has forgotten."""
FIRST_FRAME_TIMEOUT_NS = 10_000_000_000
"""How long a caller may take to say who it is; a process that gets no core may be slow."""
SHOWS_WITHIN_NS = 12_000_000_000
"""A process that multiprocessing spawned shows what it is for within seconds
(`spawned_ranks.SETTLE_S`).
"""


class Visit:
    """One process's probe, from its first word to its last."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        self.target = target
        self.records = job.run.arrow("probe.records", target.process, COLUMNS)
        self.names = job.run.jsonl("probe.names", target.process)
        self.stacks = job.run.jsonl("probe.stacks", target.process)
        self.clock = job.run.jsonl("clock", target.process)
        self.blocks = job.run.jsonl("probe.blocks", target.process)
        self.install_ns = 0
        self.stack_names: dict[int, str] = {}
        self.steps = StepCounter()
        self.count = 0
        self.cost_ns = 0.0
        self.busy_ns = 0
        self.span_ns = 0
        self.dropped = 0
        self.worker: int | None = None
        self.refused: str | None = None
        self.failed: list[str] = []
        self.windows: list[WindowNote | WindowRefusedNote] = []
        self.said_bye = False
        self.torch: TorchFacts | None = None

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
            case InstalledNote(cpu_ns):
                self.install_ns = cpu_ns
            case UpdatesNote(count, ended_ns):
                self.steps.updates.told = (count, ended_ns)
            case TorchNote(facts):
                self.torch = facts
            case RefusedNote(reason):
                self.refused = reason
            case FailedNote(name, error):
                self.failed.append(f"{name} ({error})")
            case CostNote(busy_ns, span_ns):
                self.busy_ns, self.span_ns = busy_ns, span_ns
            case ByeNote():
                self.said_bye = True
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
            case ForgottenStacksNote(numbers):
                for number in numbers:
                    self.stack_names.pop(number, None)

    @property
    def overhead_share(self) -> float | None:
        """What the probe cost its process: records at their measured price plus our thread's CPU
        time, of the time it was in.

        None for a visit too short to tell a share: of a process that ends at once coming and going
        is all there was.
        """
        return (
            (self.count * self.cost_ns + self.busy_ns) / self.span_ns
            if self.span_ns >= TELLS_COST_NS
            else None
        )


@dataclass(frozen=True)
class Early:
    """A caller that has said who it is and is not let in yet."""

    line: ProbeLine
    notes: list[Note]
    records: "array.array[int]"

    @property
    def hello(self) -> HelloNote | None:
        """The note with which a probe begins; None if this caller is not a probe."""
        first = self.notes[0] if self.notes else None
        return first if isinstance(first, HelloNote) else None


class Probe(Collector):
    """The collector: one visit per process, new processes entered as they come."""

    NAME = "probe"
    PERIOD_NS = 200_000_000
    NEEDS = frozenset({Need.ENTRY_WANTED})

    def __init__(self, window: Window | None = None, door: Door | None = None) -> None:
        self.window = window
        self.door = door
        self.entering: dict[int, Entering] = {}
        self.lines: dict[int, ProbeLine] = {}
        self.visits: dict[int, Visit] = {}
        self.tried: set[tuple[int, int]] = set()
        self.reports: dict[int, Report] = {}
        self.next_beat_ns = 0
        self.users = TrustedUsers()
        self.strangers: list[ProbeLine] = []
        self.early: list[Early] = []
        self.damaged: list[int] = []
        self.seen: dict[int, TargetProcess] = {}
        self.due_ns: dict[tuple[int, int], int] = {}

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "Probe":
        return cls(plan.window if plan.depth == "kernels" else None, plan.probe_socket)

    def start(self, job: Job) -> None:
        """Open the line and begin to enter; whether a process could be entered shows in
        `reports`.
        """
        self.job = job
        self.events = job.run.jsonl("agent.events", -1)
        if self.door is not None:
            self.socket = self.door
            return
        try:
            check(
                job.root_pid
            )  # whose refusals say what to do; what the kernel says to a socket does not
        except CannotEnter as refusal:
            raise CollectorUnavailable(str(refusal)) from None
        self.socket = Door(*listen(job.root_pid))
        self.enter_new(time.monotonic_ns())

    def poll(self, now_ns: int) -> int:
        self.take_reports(now_ns)
        self.enter_new(now_ns)
        self.seen |= self.job.processes
        for pid, visit in self.visits.items():
            visit.target = self.seen.get(pid, visit.target)
        self.accept()
        self.read()
        self.beat(now_ns)
        return now_ns + (ENTERING_NS if self.entering else self.PERIOD_NS)

    def beat(self, now_ns: int) -> None:
        """Tell the probes that the agent is there: they leave when they have heard nothing for five
        seconds.
        """
        if now_ns >= self.next_beat_ns:
            self.next_beat_ns = now_ns + HEARTBEAT_NS
            for line in (*self.lines.values(), *(one.line for one in self.early)):
                line.send(b"H")

    def enter_new(self, now_ns: int) -> None:
        """Enter what has torch and has not been tried: the training processes first, then their
        workers.
        """
        living = sorted(
            self.job.processes.values(), key=lambda one: (one.role == "loader-worker", one.process)
        )
        for one in living:
            key = (one.pid, one.start_ticks)
            if (
                not (one.is_python and one.has_torch)
                or one.role in ("launcher", "other")
                or key in self.tried
            ):
                continue
            if self.door is not None and now_ns < self.due_ns.setdefault(
                key, now_ns + self.patience_ns(one, self.door)
            ):
                continue  # it is to come by itself
            if len(self.entering) >= MOST_ENTRIES_AT_ONCE:
                return
            self.tried.add(key)
            source = bundle(self.socket.address_for(one.pid), self.window, nvtx=self.socket.nvtx)
            self.entering[one.pid] = at_normal_priority(
                partial(enter_apart, one.pid, source, ENTRY_DEADLINE_S)
            )

    def patience_ns(self, target: TargetProcess, door: Door) -> int:
        """How long a process may take to call; the one that has started us calls in any case."""
        return int(1e9 * (ROOT_PATIENCE_S if target.pid == self.job.root_pid else door.patience_s))

    def take_reports(self, now_ns: int) -> None:
        for pid, entering in list(self.entering.items()):
            report = entering.report()
            if report is None:
                continue
            del self.entering[pid]
            self.reports[pid] = report
            row = {
                "event": "refused" if report.error else "entered",
                "way": report.way,
                "stopped_ns": report.stopped_ns,
            }
            self.events.append(
                {
                    "ts": now_ns,
                    "pid": pid,
                    "attempts": report.attempts,
                    "reason": report.error,
                    **row,
                }
            )

    def accept(self) -> None:
        """Accept connections of trusted users."""
        room = MOST_UNAUTHENTICATED - len(self.strangers) - len(self.early)
        trusted = self.users.uids_including(self.job.processes.values())
        self.strangers += accept(self.socket.listening, trusted, room)

    def read(self) -> None:
        for line in list(self.strangers):
            notes, records = line.frames()
            late = time.monotonic_ns() - line.connected_ns > FIRST_FRAME_TIMEOUT_NS
            if not notes and line.open and not late:
                continue
            self.strangers.remove(line)
            if notes:
                self.early.append(Early(line, notes, records))
            else:
                line.close()
        for caller in list(self.early):
            self.let_in(caller)
        for pid, line in list(self.lines.items()):
            notes, records = line.frames()
            self.take(self.visits[pid], notes, records)
            if not line.open:
                self.damaged += [pid] if line.damaged else []
                line.close()
                del self.lines[pid]

    def let_in(self, caller: Early) -> None:
        """A caller that is one of ours, in a process of the job that has no probe yet, is welcome.

        A worker forked just now calls by itself; where probes come by themselves one may call
        before its process has shown what it is for: it waits.
        """
        line, hello = caller.line, caller.hello
        known = (
            hello is not None and hello.token == self.socket.token and line.pid not in self.lines
        )
        here = self.job.processes.get(line.pid)
        if known and (here is None or (self.door is not None and here.role == "other")):
            if self.door is not None:  # it has waited until it knew
                is_worker = hello is not None and hello.worker is not None
                self.job.reported_roles[line.pid] = "loader-worker" if is_worker else "main"
            self.job.refresh()
        target = self.job.processes.get(line.pid) or self.seen.get(line.pid) if known else None
        if target is not None and not line.peer.is_process(target.pid, target.start_ticks):
            target = None  # a later process with the same pid
        is_observed = target is not None and (
            self.door is None or target.role not in ("launcher", "other")
        )
        if target is not None and hello is not None and is_observed:
            self.early.remove(caller)
            self.welcome(line, target, hello)
            self.take(self.visits[line.pid], caller.notes, caller.records)
            return
        launcher = target is not None and target.role == "launcher"
        late = time.monotonic_ns() - line.connected_ns > SHOWS_WITHIN_NS
        if not known or self.door is None or launcher or late:
            self.early.remove(caller)
            discard_files(caller.notes)
            line.close()

    def welcome(self, line: ProbeLine, target: TargetProcess, hello: HelloNote) -> None:
        """A probe has called from within its target."""
        self.tried.add((target.pid, target.start_ticks))
        visit = self.visits[line.pid] = Visit(target, self.job)
        self.lines[line.pid] = line
        line.trusted = True
        line.send(b"H")
        visit.cost_ns = hello.cost_ns
        visit.worker = hello.worker
        visit.torch = hello.torch
        self.keep_facts(visit)

    def keep_facts(self, visit: Visit) -> None:
        """What torch is like in the first process that trains; that it uses a device or other
        threads may show later.
        """
        manifest = self.job.run.manifest
        first = next(
            (one for one in self.visits.values() if one.target.role != "loader-worker"), None
        )
        if visit is first and visit.torch is not None and manifest.torch != visit.torch:
            manifest.torch = visit.torch
            manifest.calibration = recall(
                manifest.host, visit.torch.version, visit.torch.intra_op_threads
            )
            self.job.run.write_manifest()

    def take(self, visit: Visit, notes: list[Note], records: "array.array[int]") -> None:
        for note in notes:
            visit.take_note(note)
        discard_files([note for note in notes if isinstance(note, NvtxRingNote)])
        if self.window is None:
            discard_files(visit.windows)
            visit.windows.clear()
        self.keep_facts(visit)
        if len(records):
            visit.count += len(records) // WIDTH
            visit.steps.count(records)
            visit.records.append(records)

    def worker(self, pid: int) -> int:
        """The number that its loader gave to the worker `pid`, -1 for any other process and before
        its probe has called.
        """
        visit = self.visits.get(pid)
        return -1 if visit is None or visit.worker is None else visit.worker

    def settled(self, pid: int) -> bool:
        """Has the entry of `pid` ended, one way or the other?"""
        if pid in self.visits:
            return True
        report = self.reports.get(pid)
        return report is not None and report.error is not None

    def busiest(self) -> StepCounter | None:
        """The step count of the process with the most steps."""
        counters = [visit.steps for visit in self.visits.values() if visit.steps.steps]
        return max(counters, key=lambda one: one.steps, default=None)

    def stop(self) -> SourceStatus:
        """Send the probes away and wait a moment for their last word."""
        until = time.monotonic() + FAREWELL_S
        if self.door is not None:
            self.accept()
            self.read()
        for line in self.lines.values():
            line.send(b"L")
        while (self.lines or self.entering) and time.monotonic() < until:
            time.sleep(0.01)
            self.take_reports(time.monotonic_ns())
            for line in accept(self.socket.listening, self.users.uids):
                line.close()  # entered too late: it finds nobody and leaves
            self.read()
        for line in (*self.lines.values(), *self.strangers, *(one.line for one in self.early)):
            line.close()
        self.socket.listening.close()
        close_discarded()
        self.job.run.manifest.costs = self.costs()
        return self.status()

    def abandon(self) -> None:
        """Close every connection of a probe: each probe leaves when its connection ends."""
        connections = [*self.lines.values(), *self.strangers, *(early.line for early in self.early)]
        for connection in connections:
            attempt(connection.close)
        attempt(lambda: self.socket.listening.close())
        attempt(close_discarded)
        self.lines.clear()

    def silence(self) -> str:
        """Return why no probe has reported although nothing failed."""
        silent = [str(pid) for pid, report in self.reports.items() if report.error is None]
        if not silent:
            return "no process of the job has torch loaded"
        return (
            f"the probe in pid {', '.join(silent)} did not report: check that its user can read its"
            " Python files"
        )

    def costs(self) -> list[ProbeCost]:
        """Return what each probe cost its process, as far as it was measured directly."""
        return [
            ProbeCost(
                process=visit.target.process,
                stopped_ns=self.reports[pid].stopped_ns if pid in self.reports else 0,
                install_ns=visit.install_ns,
                records_ns=int(visit.count * visit.cost_ns),
                sampling_ns=visit.busy_ns,
                span_ns=visit.span_ns,
            )
            for pid, visit in self.visits.items()
        ]

    def status(self) -> SourceStatus:
        errors = [report.error for report in self.reports.values() if report.error]
        refused = [visit.refused for visit in self.visits.values() if visit.refused]
        dropped = sum(visit.dropped for visit in self.visits.values())
        shares = [
            share for visit in self.visits.values() if (share := visit.overhead_share) is not None
        ]
        overhead = max(shares, default=None)
        if not self.visits:
            return SourceStatus(self.NAME, "unavailable", errors[0] if errors else self.silence())
        if refused:
            return SourceStatus(self.NAME, "failed", refused[0])
        unsaid = [
            str(pid)
            for pid, visit in self.visits.items()
            if not visit.said_bye and pid in self.job.processes
        ]
        reasons = [*errors[:1]]
        if dropped:
            reasons.append(f"{dropped} records of the probe dropped: too many at once")
            self.job.run.tell_dropped("records of the probe", reasons[-1])
        if self.damaged:
            reasons.append(
                f"what pid {', '.join(map(str, self.damaged))} sent could not be read: the"
                " connection was closed"
            )
        failed = sorted({one for visit in self.visits.values() for one in visit.failed})
        if failed:
            reasons.append(
                f"no longer recorded after an error of ours: {', '.join(failed)}; please report it"
            )
        if unsaid:
            reasons.append(f"no last word from pid {', '.join(unsaid)}")
        return SourceStatus(
            self.NAME, "partial" if reasons else "ok", "; ".join(reasons) or None, overhead
        )
