"""NVTX ranges of all processes of the job, written by perfscope's NVTX library.

They are written to the streams "nvtx.records" and "nvtx.names". This needs a command that perfscope
started: NVTX looks for a tool only once, at the first call in a process. The library then connects
and sends the ring that it writes to, as an open file.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from perfscope.agent.collector import Collector, Job, Need, TargetProcess
from perfscope.agent.delivery.discarded_descriptors import close_discarded, discard_files
from perfscope.agent.delivery.peer_credentials import TrustedUsers
from perfscope.agent.delivery.probe_connection import MOST_UNAUTHENTICATED, ProbeConnection, accept
from perfscope.agent.delivery.probe_notes import Note, NvtxRingNote
from perfscope.agent.delivery.probe_socket import ProbeSocket
from perfscope.agent.nvtx.ring import Ring
from perfscope.agent.recording.recording_plan import Plan
from perfscope.traces.run_folder.events import COLUMNS, WIDTH
from perfscope.traces.run_folder.manifest import SourceStatus

BUSY_PERIOD_NS = 10_000_000
BUSY_RECORDS = 10_000
"""After so many records in one poll, the next one follows after BUSY_PERIOD_NS."""
IDENTIFY_TIMEOUT_NS = 12_000_000_000


@dataclass
class NvtxConnection:
    """A process that uses NVTX; `process` is -1 until it is found in the job."""

    accepted: ProbeConnection
    since_ns: int
    ring: Ring | None = None
    process: int = -1
    names: int = 0
    count: int = 0


class Nvtx(Collector):
    """Reads the rings of the processes that connect to a socket."""

    NAME = "nvtx"
    PERIOD_NS = 100_000_000
    NEEDS = frozenset({Need.NVTX_SOCKET})

    def __init__(self, socket: ProbeSocket) -> None:
        self.socket = socket
        self.users = TrustedUsers()
        self.connections: list[NvtxConnection] = []
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
        unknown = sum(connection.process < 0 for connection in self.connections)
        trusted = self.users.uids_including(self.job.processes.values())
        for accepted in accept(self.socket.listening, trusted, MOST_UNAUTHENTICATED - unknown):
            self.connections.append(NvtxConnection(accepted, now_ns))
        counts = [self.read(connection, now_ns) for connection in list(self.connections)]
        is_busy = max(counts, default=0) > BUSY_RECORDS
        return now_ns + (BUSY_PERIOD_NS if is_busy else self.PERIOD_NS)

    def read(self, connection: NvtxConnection, now_ns: int) -> int:
        """Read from a connection; return the number of records.

        A connection is closed when it ends, shows a wrong token, or is not of the job.
        """
        notes, _ = connection.accepted.frames()
        if connection.ring is None and notes:
            is_ring = self.take_ring(connection, notes.pop(0))
            if not is_ring:
                connection.accepted.open = False
        discard_files(notes)
        if connection.process < 0 and connection.ring is not None:
            self.identify(connection)
        is_known = connection.process >= 0
        count = self.read_ring(connection) if is_known else 0
        is_late = not is_known and now_ns - connection.since_ns > IDENTIFY_TIMEOUT_NS
        if not connection.accepted.open or is_late:
            if connection.ring is not None and not is_known:
                self.unknown += 1
            self.close(connection)
        return count

    def take_ring(self, connection: NvtxConnection, note: Note) -> bool:
        """Open the ring that a note came with; return False for any other note."""
        if not isinstance(note, NvtxRingNote) or note.token != self.socket.token:
            discard_files([note])
            return False
        if note.descriptor < 0:
            return False
        connection.ring = Ring(note.descriptor)
        return True

    def identify(self, connection: NvtxConnection) -> None:
        """Find the process of a connection in the job."""
        pid = connection.accepted.pid
        if pid not in self.job.processes and pid not in self.seen:
            self.job.refresh()
        target = self.job.processes.get(pid) or self.seen.get(pid)
        if target is not None and connection.accepted.peer.is_process(pid, target.start_ticks):
            connection.process = target.process

    def read_ring(self, connection: NvtxConnection) -> int:
        """Write the records and names in a ring; return the number of records."""
        ring = connection.ring
        assert ring is not None
        # A name is in the ring before the first record that refers to it, so records are read
        # first: each name they refer to is then read now at the latest.
        records = ring.records()
        for name in ring.names():
            row = {"code": connection.names, "kind": "nvtx", "name": name}
            self.job.run.jsonl("nvtx.names", connection.process).append(row)
            connection.names += 1
        if records:
            self.job.run.arrow("nvtx.records", connection.process, COLUMNS).append(records)
        count = len(records) // WIDTH
        connection.count += count
        return count

    def close(self, connection: NvtxConnection) -> None:
        """Close a connection and its ring."""
        if connection.ring is not None:
            self.count += connection.count
            self.dropped += connection.ring.dropped
            if connection.process >= 0 and not connection.accepted.open:
                self.dropped += connection.ring.unread()
            connection.ring.close()
        connection.accepted.close()
        self.connections.remove(connection)

    def stop(self) -> SourceStatus:
        """Read the last records, and turn all rings off."""
        self.poll(time.monotonic_ns())
        for connection in list(self.connections):
            self.close(connection)
        self.socket.listening.close()
        close_discarded()
        if not self.count and not self.unknown and not self.dropped:
            return SourceStatus(self.NAME, "unavailable", "no process of the command used NVTX")
        reasons: list[str] = []
        if self.dropped:
            reasons.append(f"{self.dropped} NVTX ranges dropped: too many at once")
        if self.unknown:
            processes = "a process" if self.unknown == 1 else f"{self.unknown} processes"
            reasons.append(f"NVTX ranges of {processes} dropped: ended before being identified")
        for reason in reasons:
            self.job.run.note_dropped(reason, reason)
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None)
