"""What every thread of a job waits for, recorded while nothing in the job moves.

The CPU time and the I/O of the job are read twice per second. Only where both stop, the waits of
all threads are read from outside, and `py-spy dump` runs once on each Python process: a process
that hangs cannot always be entered. A thread that has not run since has the same stack, so a
process is read again only if one of its Python threads has run, the probe's own excepted.

The stream "host.waits" has one row per thread and round; rounds become rarer the longer nothing
moves, and between them only the main threads are read. `period` counts the periods in which nothing
moved.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.collectors.probe import Probes
from perfscope.agent.collectors.thread_states import find_runtime
from perfscope.agent.hangs.job_without_progress import WaitingThread, may_wait_forever
from perfscope.agent.host import proc
from perfscope.agent.host.job_activity import JobActivity
from perfscope.agent.host.thread_waits import GIL, ThreadWait, WaitReader
from perfscope.agent.job.roles import short_name
from perfscope.agent.probe.stacks import OWN_FILE
from perfscope.agent.stacks.py_spy import find_py_spy
from perfscope.agent.stacks.py_spy_dump import PythonThread, StackDump
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run_folder.manifest import SourceStatus

QUIET_BEFORE_NS = 2_000_000_000
"""How long a job is quiet before its threads are read: a pause between two steps is shorter."""
DUMPS_EVERY_NS = 3_000_000_000
CHECKS_PER_ROUND = 20
"""Checks of the main threads between two rounds, at most; that is ten seconds."""
MOST_DUMPS = 3
"""Dumps of a process in one period."""
LAST_DUMP_S = 0.5
"""How long the end of a recording waits for a dump; one takes less than a tenth of that."""
MOST_DUMPED = 32
MOST_AT_ONCE = 3
MOST_PROCESSES = 64
MOST_OUTSIDE = 16
PEER_KINDS = ("network", "pipe")
MOST_THREADS = 128
"""Of one process."""
MOST_RUNS_PER_S = 12.0
"""A main thread that runs more often does more than look ten times per second for a change."""
STUCK_FROM_S = 4.0
"""A job that has not moved for so long makes no step soon, if nothing ends its waits."""
MOST_MAIN_SHARE = 0.01
WAITING_ROLES = ("main", "launcher")
"""Roles of processes for whose main thread the job waits."""
ROLE_ORDER = ("main", "loader-worker", "other", "launcher")


@dataclass
class WatchedProcess:
    """A process in a period without progress: its threads as they were at first and are now."""

    target: TargetProcess
    reader: WaitReader
    waits: dict[int, ThreadWait] = field(default_factory=dict)
    runs: dict[int, int] = field(default_factory=dict)
    """How often each thread has run in the period, without the entry of a probe."""
    cpu_ns: dict[int, int] = field(default_factory=dict)
    python: dict[int, PythonThread] = field(default_factory=dict)
    runs_at_dump: dict[int, int] = field(default_factory=dict)
    dumps: int = 0
    dumped_ns: int = 0
    was_entered: bool = False
    """Whether the process was entered since all of its threads were last read."""

    def update(self, *, is_entered: bool, all_threads: bool) -> None:
        """Read the main thread, or all threads; what they ran while the process is entered does not
        count.
        """
        self.was_entered |= is_entered
        if all_threads:
            waits = self.reader.threads(MOST_THREADS)
            ended = self.waits.keys() - {wait.tid for wait in waits}
            for tid in ended:
                del self.waits[tid]
        else:
            main = self.reader.thread(self.target.pid)
            waits = [] if main is None else [main]
        for wait in waits:
            self.count(wait, counts=not (is_entered or (all_threads and self.was_entered)))
        if all_threads:
            self.was_entered = is_entered

    def count(self, wait: ThreadWait, *, counts: bool) -> None:
        """Keep what a thread waits for, and what it has run since it was last read."""
        last = self.waits.get(wait.tid, wait)
        runs = wait.runs - last.runs if counts else 0
        more_ns = wait.cpu_ns - last.cpu_ns if counts else 0
        self.runs[wait.tid] = self.runs.get(wait.tid, 0) + max(runs, 0)
        self.cpu_ns[wait.tid] = self.cpu_ns.get(wait.tid, 0) + max(more_ns, 0)
        self.waits[wait.tid] = wait

    def has_moved_since_dump(self) -> bool:
        """Return whether a Python thread has run since the last dump, or none was made yet."""
        if not self.dumps:
            return True
        return any(
            self.runs.get(tid, 0) != self.runs_at_dump.get(tid, 0)
            for tid, thread in self.python.items()
            if OWN_FILE not in thread.stack
        )

    def take_dump(self, threads: dict[int, PythonThread], now_ns: int) -> None:
        """Keep the stacks of a dump."""
        pid, inner = self.target.pid, self.target.ns_pid
        self.python = threads
        if inner != pid:
            outer = {proc.namespace_pid(tid): tid for tid in self.waits}
            self.python = {outer.get(tid, tid): thread for tid, thread in threads.items()}
        self.runs_at_dump = dict(self.runs)
        self.dumps += 1
        self.dumped_ns = now_ns

    def is_still(self, elapsed_s: float) -> bool:
        """Return whether the main thread has hardly run in the period.

        One that waits for the GIL asks for it 200 times per second.
        """
        main = self.waits.get(self.target.pid)
        if main is None:
            return False
        if main.kind != GIL and self.runs[main.tid] > MOST_RUNS_PER_S * elapsed_s + 1:
            return False
        return self.cpu_ns[main.tid] <= MOST_MAIN_SHARE * max(elapsed_s, 1.0) * 1e9

    def rows(self, now_ns: int, period: int) -> Iterable[dict[str, object]]:
        """Yield the rows of a round."""
        is_nested = self.target.ns_pid != self.target.pid
        for tid, wait in self.waits.items():
            python = self.python.get(tid)
            yield {
                "ts": now_ns,
                "tid": proc.namespace_pid(tid) if is_nested else tid,
                "period": period,
                "thread": python.name if python is not None and python.name else wait.name,
                "call": wait.call or None,
                "kind": wait.kind,
                "target": wait.target or None,
                "peer_pid": wait.peer,
                "peer": short_name(proc.command_line(wait.peer)) if wait.peer > 0 else None,
                "limit_ns": wait.limit_ns,
                "runs": self.runs.get(tid, 0),
                "cpu_ns": self.cpu_ns.get(tid, 0),
                "stack": python.stack if python is not None and python.stack else None,
            }

    def threads(self, seconds: float) -> list[WaitingThread]:
        """Return the threads with their stacks, after so many seconds without a change."""
        return [
            WaitingThread(
                is_main=tid == self.target.pid,
                wait=wait,
                runs=self.runs.get(tid, 0),
                stack=self.python[tid].stack if tid in self.python else "",
                seconds=seconds,
            )
            for tid, wait in self.waits.items()
        ]


def reader_of(target: TargetProcess, others: Sequence[int]) -> WaitReader:
    """Return what reads the waits of a process; `others` are the pids of the job."""
    runtime = find_runtime(target.pid) if target.is_python else None
    return WaitReader(target.pid, others, runtime=runtime)


class Waits(Collector):
    """Watches whether the job moves; where it does not, records what its threads wait for."""

    NAME = "waits"
    PERIOD_NS = 500_000_000
    DUMPING_PERIOD_NS = 100_000_000

    def __init__(self, probes: Probes | None = None) -> None:
        self.probes = probes

    @classmethod
    def create(cls, plan: "Plan", running: Sequence[Collector]) -> "Waits":
        return cls(next((other for other in running if isinstance(other, Probes)), None))

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where the kernel does not show system calls."""
        if proc.read(f"/proc/{job.root_pid}/syscall") is None:
            raise CollectorUnavailable(
                "not permitted to read what threads wait for: this needs the same right as ptrace"
                " (`perfscope doctor` shows how to get it)"
            )
        self.job = job
        self.executable = find_py_spy()
        self.activity = JobActivity()
        self.period = 0
        self.since_ns: int | None = None
        """Since when the job is quiet, None while it is not."""
        self.began_ns = 0
        """When the threads were first read in this period."""
        self.watched: dict[int, WatchedProcess] = {}
        self.outside: set[int] = set()
        """Processes outside of the job that threads of the job wait for."""
        self.dumping: dict[int, StackDump] = {}
        self.rounds = 0
        self.has_new_stacks = False
        self.next_check_ns = 0
        self.entered: set[int] = set()

    def poll(self, now_ns: int) -> int:
        self.take_dumps(now_ns)
        if now_ns >= self.next_check_ns:
            self.next_check_ns = now_ns + self.PERIOD_NS
            self.check(now_ns)
        return now_ns + (self.DUMPING_PERIOD_NS if self.dumping else self.PERIOD_NS)

    def check(self, now_ns: int) -> None:
        """Find out whether the job is quiet, and read its threads once it is for long enough."""
        if not self.activity.is_quiet(self.job.processes, now_ns, self.outside):
            self.end_period()
            return
        if self.since_ns is None:
            self.since_ns = self.activity.checked_before_ns
        if now_ns - self.since_ns >= QUIET_BEFORE_NS:
            self.read_threads(now_ns)
        self.job.is_stuck = self.stuck_s(now_ns) >= STUCK_FROM_S

    def end_period(self) -> None:
        """Forget what was seen of a period: something moves."""
        self.since_ns, self.job.is_stuck = None, False
        if self.watched:
            self.period += 1
        self.watched, self.rounds = {}, 0
        for dump in self.dumping.values():
            dump.end()
        self.dumping = {}

    def read_threads(self, now_ns: int) -> None:
        """Read all threads of the job, write them where a round is due, and begin dumps."""
        if not self.watched:
            self.begin_period(now_ns)
        entering = set(self.probes.entering) if self.probes is not None else set()
        self.rounds += 1
        is_due = self.rounds & (self.rounds - 1) == 0 or self.rounds % CHECKS_PER_ROUND == 0
        is_due |= self.has_new_stacks
        for pid, process in self.watched.items():
            process.update(is_entered=pid in entering | self.entered, all_threads=is_due)
        self.entered = entering
        self.watch_peers()
        elapsed_s = (now_ns - self.began_ns) / 1e9
        mains = [process for process in self.watched.values() if process.target.role == "main"]
        if self.has_other_processes() or not all(main.is_still(elapsed_s) for main in mains):
            self.end_period()
            return
        if is_due:
            self.write_round(now_ns)
        self.begin_dumps(now_ns)

    def watch_peers(self) -> None:
        """Watch the processes outside of the job that its threads wait for: they may be working."""
        waits = [wait for process in self.watched.values() for wait in process.waits.values()]
        agent = os.getpid()
        peers = {wait.peer for wait in waits if wait.peer > 0 and wait.kind in PEER_KINDS}
        new = peers - self.job.processes.keys() - {agent} - self.outside
        self.outside |= set(sorted(new)[: MOST_OUTSIDE - len(self.outside)])

    def begin_period(self, now_ns: int) -> None:
        """Begin to watch the processes of the job."""
        self.began_ns = now_ns
        ordered = sorted(
            self.job.processes.values(),
            key=lambda target: (ROLE_ORDER.index(target.role), target.process),
        )
        others = [target.pid for target in ordered]
        self.watched = {
            target.pid: WatchedProcess(target, reader_of(target, others))
            for target in ordered[:MOST_PROCESSES]
        }

    def has_other_processes(self) -> bool:
        """Return whether a process has started since the period began; ended ones are removed."""
        for pid in self.watched.keys() - self.job.processes.keys():
            del self.watched[pid]
        new = self.job.processes.keys() - self.watched.keys()
        return bool(new) and len(self.watched) < MOST_PROCESSES

    def write_round(self, now_ns: int) -> None:
        """Write a row for each thread."""
        self.has_new_stacks = False
        for process in self.watched.values():
            stream = self.job.run.jsonl("host.waits", process.target.process)
            for row in process.rows(now_ns, self.period):
                stream.append(row)
                self.job.program_lines.add(process.target.process, str(row["stack"] or ""))

    def begin_dumps(self, now_ns: int) -> None:
        """Begin to read the stacks of processes that have moved since they were last read."""
        if self.executable is None:
            return
        python = [process for process in self.watched.values() if process.target.is_python]
        for process in python[:MOST_DUMPED]:
            pid = process.target.pid
            is_recent = now_ns - process.dumped_ns < DUMPS_EVERY_NS
            if pid in self.dumping or is_recent or process.dumps >= MOST_DUMPS:
                continue
            if len(self.dumping) >= MOST_AT_ONCE:
                return
            if process.has_moved_since_dump():
                self.begin_dump(process, now_ns)

    def begin_dump(self, process: WatchedProcess, now_ns: int) -> None:
        """Start py-spy on a process; where that fails, it is not tried again in this period."""
        dump = StackDump(self.executable or "", process.target.pid)
        try:
            dump.begin()
        except (OSError, subprocess.SubprocessError):
            process.dumps, process.dumped_ns = MOST_DUMPS, now_ns
            return
        self.dumping[process.target.pid] = dump

    def take_dumps(self, now_ns: int) -> None:
        """Keep the stacks of the dumps that have ended, and begin those whose turn it is."""
        ended = False
        for pid, dump in list(self.dumping.items()):
            threads = dump.result()
            if threads is None:
                continue
            ended = True
            del self.dumping[pid]
            if pid in self.watched:
                self.watched[pid].take_dump(threads, now_ns)
        if ended:
            self.has_new_stacks = True
            self.begin_dumps(now_ns)

    def stuck_s(self, now_ns: int) -> float:
        """Return for how long nothing has moved, 0 where that may end soon."""
        if self.since_ns is None or not self.watched or self.dumping:
            return 0.0
        watched = self.watched.values()
        mains = [process for process in watched if process.target.role in WAITING_ROLES]
        others = [process for process in watched if process.target.role not in WAITING_ROLES]
        if not all(process.dumps for process in mains):
            return 0.0
        seconds = (now_ns - self.began_ns) / 1e9
        of_mains = [process.threads(seconds) for process in mains]
        of_others = [process.threads(seconds) for process in others]
        if not may_wait_forever(of_mains, of_others):
            return 0.0
        return (now_ns - self.since_ns) / 1e9

    def stop(self) -> SourceStatus:
        now_ns = time.monotonic_ns()
        for pid, dump in list(self.dumping.items()):
            threads = dump.end(LAST_DUMP_S)
            if pid in self.watched:
                self.watched[pid].take_dump(threads, now_ns)
        self.dumping = {}
        if self.watched:
            for process in self.watched.values():
                process.update(is_entered=process.target.pid in self.entered, all_threads=True)
            self.write_round(now_ns)
        return SourceStatus(self.NAME, "ok")


if TYPE_CHECKING:
    from perfscope.agent.recording.recording_plan import Plan
