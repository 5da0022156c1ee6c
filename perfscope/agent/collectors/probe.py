"""Enters each process of the job that runs torch, and receives what the probes in them report."""

import array
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from perfscope.agent.collector import Collector, Job, Need, TargetProcess
from perfscope.agent.collector_guard import attempt
from perfscope.agent.delivery.discarded_descriptors import close_discarded, discard_files
from perfscope.agent.delivery.peer_credentials import TrustedUsers
from perfscope.agent.delivery.probe_bundle import bundle
from perfscope.agent.delivery.probe_connection import (
    MOST_UNAUTHENTICATED,
    ProbeConnection,
    accept,
    listen,
)
from perfscope.agent.delivery.probe_notes import HelloNote, Note, NvtxRingNote
from perfscope.agent.delivery.probe_socket import ProbeSocket
from perfscope.agent.entry import check_entry
from perfscope.agent.entry.tracer_process import EntryReport, PendingEntry, enter_from_child
from perfscope.agent.overhead.idle_priority import at_normal_priority
from perfscope.agent.profiler_windows.window import Window
from perfscope.agent.recording.probe_session import ProbeSession
from perfscope.agent.recording.recording_plan import Plan
from perfscope.agent.recording.step_counter import StepCounter
from perfscope.errors import CannotEnter, CollectorUnavailable
from perfscope.traces.calibrations import load_calibration
from perfscope.traces.run_folder.manifest import ProbeCost, SourceStatus

ENTERING_PERIOD_NS = 20_000_000
HEARTBEAT_NS = 1_000_000_000
"""A probe leaves when it has not heard from the agent for five seconds."""
ENTRY_DEADLINE_S = 10.0
LEAVE_TIMEOUT_S = 2.0
MOST_ENTRIES_AT_ONCE = 4
ROOT_PATIENCE_S = 15.0
FIRST_FRAME_TIMEOUT_NS = 10_000_000_000
"""How long a connection may take to identify itself; a process without a core may be slow."""
ROLE_TIMEOUT_NS = 12_000_000_000
"""The role of a process that multiprocessing spawned is known within seconds
(`spawned_ranks.SETTLE_S`).
"""
HEARTBEAT, LEAVE = b"H", b"L"
UNOBSERVED_ROLES = ("launcher", "other")


@dataclass(frozen=True)
class PendingConnection:
    """A connection that has identified itself and is not admitted yet."""

    connection: ProbeConnection
    notes: list[Note]
    records: "array.array[int]"

    @property
    def hello(self) -> HelloNote | None:
        """The note with which a probe begins; None if this is not a probe."""
        first = self.notes[0] if self.notes else None
        return first if isinstance(first, HelloNote) else None


class Probes(Collector):
    """One session per process with a probe; new processes are entered as they appear."""

    NAME = "probe"
    PERIOD_NS = 200_000_000
    NEEDS = frozenset({Need.ENTRY_WANTED})

    def __init__(
        self, window: Window | None = None, probe_socket: ProbeSocket | None = None
    ) -> None:
        """`window` is None where no profiling windows are wanted.

        With a `probe_socket`, probes start with their process and connect to it. A process is
        entered only where none has connected in time.
        """
        self.window = window
        self.probe_socket = probe_socket
        self.entering: dict[int, PendingEntry] = {}
        """Entries under way, by pid; the next three dicts are by pid too."""
        self.connections: dict[int, ProbeConnection] = {}
        """The open connections of admitted probes."""
        self.sessions: dict[int, ProbeSession] = {}
        self.reports: dict[int, EntryReport] = {}
        """How each entry ended."""
        self.attempted: set[tuple[int, int]] = set()
        """Pid and start time of each process that was entered or has connected."""
        self.enter_after_ns: dict[tuple[int, int], int] = {}
        self.next_heartbeat_ns = 0
        self.users = TrustedUsers()
        self.unidentified: list[ProbeConnection] = []
        self.pending: list[PendingConnection] = []
        self.damaged: list[int] = []
        self.seen: dict[int, TargetProcess] = {}
        """All processes of the job so far."""

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "Probes":
        window = plan.window if plan.depth == "kernels" else None
        return cls(window, plan.probe_socket)

    def start(self, job: Job) -> None:
        """Begin to listen, and to enter. `reports` has the result of each entry.

        Raises CollectorUnavailable where the target cannot be entered.
        """
        self.job = job
        self.events = job.run.jsonl("agent.events", -1)
        if self.probe_socket is not None:
            self.socket = self.probe_socket
            return
        try:
            # This comes before `listen`, whose errors do not say what to do.
            check_entry(job.root_pid)
        except CannotEnter as refusal:
            raise CollectorUnavailable(str(refusal)) from None
        self.socket = ProbeSocket(*listen(job.root_pid))
        self.enter_new(time.monotonic_ns())

    def poll(self, now_ns: int) -> int:
        self.take_reports(now_ns)
        self.enter_new(now_ns)
        self.seen |= self.job.processes
        for pid, session in self.sessions.items():
            session.target = self.seen.get(pid, session.target)
        self.accept()
        self.read()
        self.send_heartbeats(now_ns)
        return now_ns + (ENTERING_PERIOD_NS if self.entering else self.PERIOD_NS)

    def send_heartbeats(self, now_ns: int) -> None:
        """Inform the probes, once per HEARTBEAT_NS, that the agent is still running."""
        if now_ns < self.next_heartbeat_ns:
            return
        self.next_heartbeat_ns = now_ns + HEARTBEAT_NS
        for connection in (
            *self.connections.values(),
            *(pending.connection for pending in self.pending),
        ):
            connection.send(HEARTBEAT)

    def enter_new(self, now_ns: int) -> None:
        """Begin to enter each process with torch once: training processes first, then workers."""
        living = sorted(
            self.job.processes.values(),
            key=lambda target: (target.role == "loader-worker", target.process),
        )
        for target in living:
            if not self.is_to_be_entered(target, now_ns):
                continue
            if len(self.entering) >= MOST_ENTRIES_AT_ONCE:
                return
            self.attempted.add((target.pid, target.start_ticks))
            address = self.socket.address_for(target.pid)
            source = bundle(address, self.window, nvtx=self.socket.nvtx)
            enter = partial(enter_from_child, target.pid, source, ENTRY_DEADLINE_S)
            self.entering[target.pid] = at_normal_priority(enter)

    def is_to_be_entered(self, target: TargetProcess, now_ns: int) -> bool:
        """Return whether a process has torch, has no probe yet, and is not expected to connect."""
        key = (target.pid, target.start_ticks)
        if not (target.is_python and target.has_torch) or target.role in UNOBSERVED_ROLES:
            return False
        if key in self.attempted:
            return False
        if self.probe_socket is None:
            return True
        patience_ns = self.patience_ns(target, self.probe_socket)
        return now_ns >= self.enter_after_ns.setdefault(key, now_ns + patience_ns)

    def patience_ns(self, target: TargetProcess, probe_socket: ProbeSocket) -> int:
        """Return how long a process may take to connect; the target itself always connects."""
        is_root = target.pid == self.job.root_pid
        return int(1e9 * (ROOT_PATIENCE_S if is_root else probe_socket.patience_s))

    def take_reports(self, now_ns: int) -> None:
        """Keep and write the results of the entries that have ended."""
        for pid, entering in list(self.entering.items()):
            report = entering.report()
            if report is None:
                continue
            del self.entering[pid]
            self.reports[pid] = report
            row = {
                "ts": now_ns,
                "pid": pid,
                "attempts": report.attempts,
                "reason": report.error,
                "event": "refused" if report.error else "entered",
                "way": report.way,
                "stopped_ns": report.stopped_ns,
            }
            self.events.append(row)

    def accept(self) -> None:
        """Accept connections of trusted users."""
        most = MOST_UNAUTHENTICATED - len(self.unidentified) - len(self.pending)
        trusted = self.users.uids_including(self.job.processes.values())
        self.unidentified += accept(self.socket.listening, trusted, most)

    def read(self) -> None:
        """Read from all connections."""
        self.read_unidentified()
        for pending in list(self.pending):
            self.admit_or_refuse(pending)
        for pid, connection in list(self.connections.items()):
            notes, records = connection.frames()
            self.take(self.sessions[pid], notes, records)
            if not connection.open:
                if connection.damaged:
                    self.damaged.append(pid)
                connection.close()
                del self.connections[pid]

    def read_unidentified(self) -> None:
        """Read the first notes of new connections; close those that do not send any in time."""
        for connection in list(self.unidentified):
            notes, records = connection.frames()
            is_late = time.monotonic_ns() - connection.connected_ns > FIRST_FRAME_TIMEOUT_NS
            if not notes and connection.open and not is_late:
                continue
            self.unidentified.remove(connection)
            if notes:
                self.pending.append(PendingConnection(connection, notes, records))
            else:
                connection.close()

    def admit_or_refuse(self, pending: PendingConnection) -> None:
        """Admit a connection, refuse it, or leave it pending.

        It is admitted where it shows the token of this recording, from a process of the job that
        has no probe yet. Where probes start with their process, one may connect before the role of
        its process is known; it then stays pending.
        """
        connection, hello = pending.connection, pending.hello
        if hello is None or hello.token != self.socket.token or connection.pid in self.connections:
            self.refuse(pending)
            return
        target = self.find_target(connection, hello)
        may_role_change = self.probe_socket is not None
        if target is not None and not (may_role_change and target.role in UNOBSERVED_ROLES):
            self.pending.remove(pending)
            self.admit(connection, target, hello)
            self.take(self.sessions[connection.pid], pending.notes, pending.records)
            return
        is_launcher = target is not None and target.role == "launcher"
        is_late = time.monotonic_ns() - connection.connected_ns > ROLE_TIMEOUT_NS
        if not may_role_change or is_launcher or is_late:
            self.refuse(pending)

    def find_target(self, connection: ProbeConnection, hello: HelloNote) -> TargetProcess | None:
        """Return the process of the job at the other end of a connection, None for another one."""
        target = self.job.processes.get(connection.pid)
        may_role_change = self.probe_socket is not None
        if target is None or (may_role_change and target.role == "other"):
            if may_role_change:
                role = "main" if hello.worker is None else "loader-worker"
                self.job.reported_roles[connection.pid] = role
            self.job.refresh()
        target = self.job.processes.get(connection.pid) or self.seen.get(connection.pid)
        if target is None:
            return None
        # A later process may have the same pid.
        return target if connection.peer.is_process(target.pid, target.start_ticks) else None

    def refuse(self, pending: PendingConnection) -> None:
        """Close a pending connection."""
        self.pending.remove(pending)
        discard_files(pending.notes)
        pending.connection.close()

    def admit(self, connection: ProbeConnection, target: TargetProcess, hello: HelloNote) -> None:
        """Begin a session with the probe in `target`."""
        self.attempted.add((target.pid, target.start_ticks))
        session = ProbeSession(target, self.job)
        self.sessions[connection.pid] = session
        self.connections[connection.pid] = connection
        connection.trusted = True
        connection.send(HEARTBEAT)
        session.take_hello(hello)
        self.write_torch_facts(session)

    def write_torch_facts(self, session: ProbeSession) -> None:
        """Write the state of torch in the first training process to the manifest, if it changed."""
        manifest = self.job.run.manifest
        training = [
            other for other in self.sessions.values() if other.target.role != "loader-worker"
        ]
        is_first = bool(training) and training[0] is session
        torch = session.torch
        if is_first and torch is not None and manifest.torch != torch:
            manifest.torch = torch
            manifest.calibration = load_calibration(
                manifest.host, torch.version, torch.intra_op_threads
            )
            self.job.run.write_manifest()

    def take(self, session: ProbeSession, notes: list[Note], records: "array.array[int]") -> None:
        """Keep what a probe has sent."""
        for note in notes:
            session.take_note(note)
        discard_files([note for note in notes if isinstance(note, NvtxRingNote)])
        if self.window is None:
            discard_files(session.windows)
            session.windows.clear()
        self.write_torch_facts(session)
        session.take_records(records)
        if session.steps.steps:
            self.job.trained_ns[session.target.pid] = session.steps.last_ns

    def worker(self, pid: int) -> int:
        """Return the number of the loader worker `pid` in its loader.

        Return -1 for any other process, and before its probe has connected.
        """
        session = self.sessions.get(pid)
        return -1 if session is None or session.worker is None else session.worker

    def has_entry_ended(self, pid: int) -> bool:
        """Return whether the entry into a process has ended, successful or not."""
        if pid in self.sessions:
            return True
        report = self.reports.get(pid)
        return report is not None and report.error is not None

    def busiest(self) -> StepCounter | None:
        """Return the step counter of the process with the most steps."""
        counters = [session.steps for session in self.sessions.values() if session.steps.steps]
        return max(counters, key=lambda counter: counter.steps, default=None)

    def answered_requests(self) -> int:
        """Return the number of requests of all processes so far; 0 where any of them trains."""
        counters = [session.steps for session in self.sessions.values()]
        if any(counter.by_optimizer for counter in counters):
            return 0
        return sum(counter.requests for counter in counters)

    def stop(self) -> SourceStatus:
        """Ask the probes to leave, and wait briefly for their last notes."""
        until_s = time.monotonic() + LEAVE_TIMEOUT_S
        if self.probe_socket is not None:
            self.accept()
            self.read()
        for connection in self.connections.values():
            connection.send(LEAVE)
        while (self.connections or self.entering) and time.monotonic() < until_s:
            time.sleep(0.01)
            self.take_reports(time.monotonic_ns())
            # A probe that connects only now leaves when its connection is closed.
            for connection in accept(self.socket.listening, self.users.uids):
                connection.close()
            self.read()
        for connection in self.all_connections():
            connection.close()
        self.socket.listening.close()
        close_discarded()
        manifest, status = self.job.run.manifest, self.status()
        manifest.costs = self.costs()
        if not self.sessions and manifest.depth_reason is None:
            manifest.depth_reason = status.reason
        return status

    def all_connections(self) -> list[ProbeConnection]:
        """Return all open connections."""
        pending = [waiting.connection for waiting in self.pending]
        return [*self.connections.values(), *self.unidentified, *pending]

    def abandon(self) -> None:
        """Close all connections: a probe leaves when its connection ends."""
        for connection in self.all_connections():
            attempt(connection.close)
        attempt(lambda: self.socket.listening.close())
        attempt(close_discarded)
        self.connections.clear()

    def costs(self) -> list[ProbeCost]:
        """Return what each probe cost its process; only what was measured directly."""
        return [
            ProbeCost(
                process=session.target.process,
                stopped_ns=self.reports[pid].stopped_ns if pid in self.reports else 0,
                install_ns=session.install_ns,
                records_ns=int(session.count * session.cost_ns),
                sampling_ns=session.busy_ns,
                span_ns=session.span_ns,
            )
            for pid, session in self.sessions.items()
        ]

    def status(self) -> SourceStatus:
        """Return the status of this source."""
        sessions = self.sessions.values()
        errors = [report.error for report in self.reports.values() if report.error]
        if not sessions:
            reason = errors[0] if errors else self.reason_for_silence()
            return SourceStatus(self.NAME, "unavailable", reason)
        refused = [session.refused for session in sessions if session.refused]
        if refused:
            return SourceStatus(self.NAME, "failed", refused[0])
        shares = [session.overhead_share for session in sessions]
        overhead = max((share for share in shares if share is not None), default=None)
        reasons = [*errors[:1], *self.problems()]
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None, overhead)

    def problems(self) -> list[str]:
        """Return what is missing from the sessions, one line each."""
        problems: list[str] = []
        dropped = sum(session.dropped for session in self.sessions.values())
        if dropped:
            problems.append(f"{dropped} records of the probe were dropped: too many at once")
            self.job.run.note_dropped("records of the probe", problems[-1])
        if self.damaged:
            pids = ", ".join(map(str, self.damaged))
            problems.append(
                f"the data from pid {pids} could not be read; the connection was closed"
            )
        failed = {name for session in self.sessions.values() for name in session.failed}
        if failed:
            names = ", ".join(sorted(failed))
            problems.append(f"an error in perfscope (please report it) ended recording of: {names}")
        silent = [
            str(pid)
            for pid, session in self.sessions.items()
            if not session.has_left and pid in self.job.processes
        ]
        if silent:
            problems.append(f"the probe in pid {', '.join(silent)} ended without its last report")
        return problems

    def reason_for_silence(self) -> str:
        """Return why no probe has connected although nothing failed."""
        entered = [str(pid) for pid, report in self.reports.items() if report.error is None]
        if not entered:
            return "no process of the job has torch loaded"
        return (
            f"the probe in pid {', '.join(entered)} was started but did not connect: the program"
            " did not release the GIL, or its user cannot read Python's own files"
        )
