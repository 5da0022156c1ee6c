"""States of the main threads of ranks and workers, sampled 20 times per second.

/proc/PID/task/TID/syscall shows the system call that a thread waits in, with its arguments, and
`running` for a thread that runs or waits for a core. A futex inside CPython's `_PyRuntime` is the
GIL: its condition variable is there (3.8 to 3.14, main interpreter), and no other lock that Python
code waits for is. A thread at an OpenMP barrier waits for another futex. `disk` is an
uninterruptible wait (state D) in a call on a file, or outside any call, where a page is read in.
"""

import math
import os

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.entry import symbol_range
from perfscope.agent.host import proc
from perfscope.agent.host.process_readings import open_for_reading, read_at_start
from perfscope.agent.host.system_calls import (
    CLOCK_SLEEP,
    DESCRIPTOR,
    FUTEX,
    LIBRARY_SLEEP,
    SELECT,
    kind_of_file,
    system_call_kinds,
)
from perfscope.agent.overhead.sampling_pace import SamplingPace
from perfscope.errors import CannotEnter, CollectorUnavailable
from perfscope.traces.run_folder.manifest import SourceStatus

MOST_SHARE = 0.008
"""Share of a core."""
MOST_NEW_PER_POLL = 2
"""Finding `_PyRuntime` in a new process takes one or two milliseconds."""
ROLES = ("main", "loader-worker")
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
"""Samples are shifted by multiples of it, so that they never stay in phase with a loop of the same
period.
"""
OUTSIDE_ANY_CALL = -1
UNTIL_INSTANT = 1
"""Flag of clock_nanosleep: TIMER_ABSTIME."""


class MainThread:
    """The main thread of a process: its open /proc files, and the memory range of its GIL.

    `kinds` has the kind of each system call, by number.
    """

    def __init__(self, pid: int, kinds: dict[int, str], *, is_python: bool = True) -> None:
        self.pid, self.kinds = pid, kinds
        self.syscall_file = open_for_reading(f"/proc/{pid}/task/{pid}/syscall")
        self.stat_file = open_for_reading(f"/proc/{pid}/task/{pid}/stat")
        self.runtime = find_runtime(pid) if is_python else None

    def state(self) -> str | None:
        """Return what the thread does now; None when it is gone or may not be read."""
        words = read_at_start(self.syscall_file, 256).split()
        if not words:
            return None
        if words[0] == "running":
            return "running"
        number = int(words[0])
        if number == OUTSIDE_ANY_CALL:
            return "disk" if self.scheduler_state() == "D" else "other"
        kind, first_argument = self.kinds.get(number, "other"), int(words[1], 16)
        if kind == FUTEX:
            return "gil" if self.is_in_runtime(first_argument) else "lock"
        if kind == SELECT:
            return "poll" if first_argument else "sleep"
        if kind == CLOCK_SLEEP:
            return "sleep" if int(words[2], 16) & UNTIL_INSTANT else LIBRARY_SLEEP
        if kind == DESCRIPTOR:
            kind = self.kind_of_descriptor(first_argument)
        if kind == "file" and self.scheduler_state() == "D":
            return "disk"
        return kind

    def is_in_runtime(self, address: int) -> bool:
        """Return whether an address is inside `_PyRuntime`."""
        if self.runtime is None:
            return False
        begin, size = self.runtime
        return begin <= address < begin + size

    def kind_of_descriptor(self, descriptor: int) -> str:
        """Return the kind of file that a descriptor refers to now.

        It is looked up each time, which takes 3 us: descriptors are reused for other files.
        """
        try:
            return kind_of_file(os.readlink(f"/proc/{self.pid}/fd/{descriptor}"))
        except OSError:
            return "other"

    def scheduler_state(self) -> str:
        """Return the one-letter state of /proc/PID/stat, `?` if unknown."""
        text = read_at_start(self.stat_file, 512)
        return text[text.rindex(")") + 2] if text else "?"

    def close(self) -> None:
        """Close the files."""
        for file in (self.syscall_file, self.stat_file):
            if file >= 0:
                os.close(file)


class RecordedThread(MainThread):
    """The main thread of a process of the job, and the stream of its states."""

    def __init__(self, target: TargetProcess, job: Job, kinds: dict[int, str]) -> None:
        super().__init__(target.pid, kinds, is_python=target.is_python)
        self.target = target
        self.stream = job.run.jsonl("host.states", target.process)


def find_runtime(pid: int) -> tuple[int, int] | None:
    """Return (address, size) of a process's `_PyRuntime`; None when it cannot be found."""
    try:
        return symbol_range(pid, "_PyRuntime")
    except (CannotEnter, OSError):
        return None


class ThreadStates(Collector):
    """Samples main threads; less often where that would cost more than its share of a core."""

    NAME = "thread_states"
    PERIOD_NS = 50_000_000

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where the kernel does not show system calls, or where their
        numbers are not known for this architecture.
        """
        kinds = system_call_kinds()
        if kinds is None:
            raise CollectorUnavailable(
                "perfscope does not know the system calls of this processor architecture"
            )
        if proc.read(f"/proc/{job.root_pid}/syscall") is None:
            raise CollectorUnavailable(
                "not permitted to read what threads wait for: this needs the same right as ptrace"
                " (`perfscope doctor` shows how to get it)"
            )
        self.job, self.kinds = job, kinds
        self.threads: dict[int, RecordedThread] = {}
        self.polls = 0
        self.without_runtime: set[int] = set()
        self.pace = SamplingPace(self.PERIOD_NS, MOST_SHARE)

    def poll(self, now_ns: int) -> int:
        started_ns = self.pace.start()
        has_new = self.open_and_close()
        for thread in self.threads.values():
            state = thread.state()
            if state is not None:
                thread.stream.append({"ts": now_ns, "tid": thread.target.ns_pid, "state": state})
        self.polls += 1
        period_ns = self.pace.end(started_ns, usual=not has_new)
        shift = self.polls * GOLDEN_RATIO % 1.0
        return now_ns + int(period_ns * (0.75 + 0.5 * shift))

    def open_and_close(self) -> bool:
        """Open the files of new processes, close those of ended ones; return whether any is new."""
        wanted = {
            target.process: target for target in self.job.processes.values() if target.role in ROLES
        }
        for process in self.threads.keys() - wanted.keys():
            self.threads.pop(process).close()
        new = sorted(wanted.keys() - self.threads.keys())[:MOST_NEW_PER_POLL]
        for process in new:
            thread = RecordedThread(wanted[process], self.job, self.kinds)
            self.threads[process] = thread
            is_alive = thread.state() is not None
            if thread.runtime is None and is_alive:
                self.without_runtime.add(process)
        return bool(new)

    def stop(self) -> SourceStatus:
        for thread in self.threads.values():
            thread.close()
        reasons = [self.pace.slowdown] if self.pace.slowdown else []
        count = len(self.without_runtime)
        if count:
            reasons.append(
                f"no _PyRuntime found in {count} processes: their waits for the GIL count as lock"
            )
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None, self.pace.share)
