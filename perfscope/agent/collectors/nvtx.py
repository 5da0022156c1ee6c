"""NVTX ranges of every process of the job that uses NVTX, Python or not: stream "nvtx.records",
names in "nvtx.names".

Only where we start the command: NVTX looks for a tool once, on a process's first call. A process
calls by itself, with the ring it writes to as an open file.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from perfscope.agent.collector import Collector, Job, Need, TargetProcess
from perfscope.agent.delivery.discarded import close_discarded, discard_files
from perfscope.agent.delivery.peers import TrustedUsers
from perfscope.agent.delivery.probe_line import MOST_UNAUTHENTICATED, ProbeLine, accept
from perfscope.agent.delivery.probe_notes import Note, NvtxRingNote
from perfscope.agent.delivery.probe_socket import Door
from perfscope.agent.nvtx.ring import Ring
from perfscope.agent.recording_plan import Plan
from perfscope.traces.run.events import COLUMNS, WIDTH
from perfscope.traces.run.manifest import SourceStatus

BUSY_NS = 10_000_000
BUSY_RECORDS = 10_000
LONGEST_UNKNOWN_NS = 12_000_000_000


@dataclass
class Caller:
    """A process that uses NVTX; `process` is -1 until it is known who it is."""

    line: ProbeLine
    since_ns: int
    ring: Ring | None = None
    process: int = -1
    names: int = 0
    count: int = 0


class Nvtx(Collector):
    """The collector. `door`: where the processes call."""

    NAME = "nvtx"
    PERIOD_NS = 100_000_000
    NEEDS = frozenset({Need.NVTX_SOCKET})

    def __init__(self, door: Door) -> None:
        self.door = door
        self.users = TrustedUsers()
        self.callers: list[Caller] = []
        self.seen: dict[int, TargetProcess] = {}
        self.count = self.dropped = self.unknown = 0

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "Nvtx":
        assert plan.nvtx_socket is not None
        return cls(plan.nvtx_socket)

    def start(self, job: Job) -> None:
        self.job = job

    def poll(self, now_ns: int) -> int:
        self.seen |= self.job.processes
        room = MOST_UNAUTHENTICATED - sum(caller.process < 0 for caller in self.callers)
        trusted = self.users.uids_including(self.job.processes.values())
        self.callers += [
            Caller(line, now_ns) for line in accept(self.door.listening, trusted, room)
        ]
        most = 0
        for caller in list(self.callers):
            most = max(most, self.serve(caller, now_ns))
        return now_ns + (BUSY_NS if most > BUSY_RECORDS else self.PERIOD_NS)

    def serve(self, caller: Caller, now_ns: int) -> int:
        """Take what it has written; how many records. A caller that is none of ours, or has ended,
        is let go.
        """
        notes, _ = caller.line.frames()
        if caller.ring is None and notes and not self.take_ring(caller, notes.pop(0)):
            caller.line.open = False
        discard_files(notes)
        if caller.process < 0 and caller.ring is not None:
            self.recognise(caller)
        taken = self.drain(caller) if caller.process >= 0 else 0
        if not caller.line.open or (
            caller.process < 0 and now_ns - caller.since_ns > LONGEST_UNKNOWN_NS
        ):
            self.unknown += caller.ring is not None and caller.process < 0
            self.let_go(caller)
        return taken

    def take_ring(self, caller: Caller, note: Note) -> bool:
        if not isinstance(note, NvtxRingNote) or note.token != self.door.token:
            discard_files([note])
            return False
        if note.descriptor < 0:
            return False
        caller.ring = Ring(note.descriptor)
        return True

    def recognise(self, caller: Caller) -> None:
        pid = caller.line.pid
        if pid not in self.job.processes and pid not in self.seen:
            self.job.refresh()
        target = self.job.processes.get(pid) or self.seen.get(pid)
        if target is not None and caller.line.peer.is_process(pid, target.start_ticks):
            caller.process = target.process

    def drain(self, caller: Caller) -> int:
        ring = caller.ring
        assert ring is not None
        records = ring.records()
        for (
            name
        ) in ring.names():  # after the records: a name is told before the first that has its code
            row = {"code": caller.names, "kind": "nvtx", "name": name}
            self.job.run.jsonl("nvtx.names", caller.process).append(row)
            caller.names += 1
        if records:
            self.job.run.arrow("nvtx.records", caller.process, COLUMNS).append(records)
        caller.count += len(records) // WIDTH
        return len(records) // WIDTH

    def let_go(self, caller: Caller) -> None:
        if caller.ring is not None:
            self.count += caller.count
            ended = caller.process >= 0 and not caller.line.open
            self.dropped += caller.ring.dropped + (caller.ring.unread() if ended else 0)
            caller.ring.close()
        caller.line.close()
        self.callers.remove(caller)

    def stop(self) -> SourceStatus:
        """The last records, and the rings are off."""
        self.poll(time.monotonic_ns())
        for caller in list(self.callers):
            self.let_go(caller)
        self.door.listening.close()
        close_discarded()
        if not self.count and not self.unknown and not self.dropped:
            return SourceStatus(self.NAME, "unavailable", "no process of the command used NVTX")
        reasons = [f"{self.dropped} NVTX ranges dropped: too many at once"] if self.dropped else []
        if self.unknown:
            who = "a process" if self.unknown == 1 else f"{self.unknown} processes"
            reasons.append(f"NVTX ranges of {who} dropped: ended before they could be taken")
        for reason in reasons:
            self.job.run.tell_dropped(reason, reason)
        return SourceStatus(self.NAME, "partial" if reasons else "ok", "; ".join(reasons) or None)
