"""What the main threads of ranks and workers do, asked twenty times a second: running, or waiting,
and for what.

From /proc/PID/task/TID/syscall: the system call that a thread sits in and its arguments; it says
`running` for a thread that runs or waits for a core. A futex inside CPython's `_PyRuntime` is the
GIL: its condition variable lies there (3.8 to 3.14, main interpreter), and no other lock that
Python code waits for does. A thread at a barrier of OpenMP waits for another futex. `disk` is an
uninterruptible wait (state D) in a call on a file, or outside any call: a page being read in.
"""

import math
import os

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.entry import symbol_range
from perfscope.agent.host import proc
from perfscope.agent.host.process_readings import opened, pread
from perfscope.agent.host.system_calls import DESCRIPTOR, FUTEX, kind_of_file, meanings
from perfscope.agent.pace import Pace
from perfscope.errors import CannotEnter, CollectorUnavailable
from perfscope.traces.run.manifest import SourceStatus

MOST_SHARE = 0.008
MOST_NEWCOMERS = 2
"""Taken in with one look: finding `_PyRuntime` takes a millisecond or two."""
ROLES = ("main", "loader-worker")
GOLDEN = (math.sqrt(5) - 1) / 2
"""Looks come a little early or late by multiples of it, so that they never keep step with a loop of
the same period.
"""
OUTSIDE_ANY_CALL = -1


class MainThread:
    """The main thread of a process: its open files and where its GIL lies."""

    def __init__(self, pid: int, meaning: dict[int, str], *, is_python: bool = True) -> None:
        self.pid, self.meaning = pid, meaning
        self.call = opened(f"/proc/{pid}/task/{pid}/syscall")
        self.stat = opened(f"/proc/{pid}/task/{pid}/stat")
        self.runtime = runtime_range(pid) if is_python else None

    def state(self) -> str | None:
        """What the thread does now; None when it is gone or may not be asked."""
        said = pread(self.call, 256).split()
        if not said or said[0] == "running":
            return "running" if said else None
        number = int(said[0])
        if number == OUTSIDE_ANY_CALL:
            return "disk" if self.letter() == "D" else "other"
        what, argument = self.meaning.get(number, "other"), int(said[1], 16)
        if what == FUTEX:
            return "gil" if self.in_runtime(argument) else "lock"
        if what == DESCRIPTOR:
            what = self.kind_of(argument)
        return "disk" if what == "file" and self.letter() == "D" else what

    def in_runtime(self, address: int) -> bool:
        return (
            self.runtime is not None
            and self.runtime[0] <= address < self.runtime[0] + self.runtime[1]
        )

    def kind_of(self, descriptor: int) -> str:
        # Asked anew each time: numbers are used again for other files, and one link costs 3 us.
        try:
            return kind_of_file(os.readlink(f"/proc/{self.pid}/fd/{descriptor}"))
        except OSError:
            return "other"

    def letter(self) -> str:
        text = pread(self.stat, 512)
        return text[text.rindex(")") + 2] if text else "?"

    def close(self) -> None:
        for file in (self.call, self.stat):
            if file >= 0:
                os.close(file)


class Watched(MainThread):
    """One main thread of the job, and where its states are written to."""

    def __init__(self, target: TargetProcess, job: Job, meaning: dict[int, str]) -> None:
        super().__init__(target.pid, meaning, is_python=target.is_python)
        self.target = target
        self.stream = job.run.jsonl("host.states", target.process)


def runtime_range(pid: int) -> tuple[int, int] | None:
    """(address, size) of the process's `_PyRuntime`; None when it has none or it cannot be
    found.
    """
    try:
        return symbol_range(pid, "_PyRuntime")
    except (CannotEnter, OSError):
        return None


class ThreadStates(Collector):
    """The collector; looks less often when there are many threads to ask."""

    NAME = "thread_states"
    PERIOD_NS = 50_000_000

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where the kernel does not tell, or on an architecture whose
        calls are not known.
        """
        meaning = meanings()
        if meaning is None:
            raise CollectorUnavailable(
                "the system calls of this processor architecture are not known to perfscope"
            )
        if proc.read(f"/proc/{job.root_pid}/syscall") is None:
            raise CollectorUnavailable(
                "the kernel does not let us read what the threads wait for: it needs the same right"
                " as ptrace (`perfscope doctor` says how to get it)"
            )
        self.job, self.meaning = job, meaning
        self.watched: dict[int, Watched] = {}
        self.looks = 0
        self.without_runtime: set[int] = set()
        self.pace = Pace(self.PERIOD_NS, MOST_SHARE)

    def poll(self, now_ns: int) -> int:
        started = self.pace.start()
        changed = self.follow()
        for one in self.watched.values():
            state = one.state()
            if state is not None:
                one.stream.append({"ts": now_ns, "tid": one.target.ns_pid, "state": state})
        self.looks += 1
        period_ns = self.pace.end(started, usual=not changed)
        return now_ns + int(period_ns * (0.75 + 0.5 * (self.looks * GOLDEN % 1.0)))

    def follow(self) -> bool:
        """Take in newcomers, let go of the gone; says whether somebody came."""
        wanted = {one.process: one for one in self.job.processes.values() if one.role in ROLES}
        for process in self.watched.keys() - wanted.keys():
            self.watched.pop(process).close()
        newcomers = sorted(wanted.keys() - self.watched.keys())[:MOST_NEWCOMERS]
        for process in newcomers:
            one = self.watched[process] = Watched(wanted[process], self.job, self.meaning)
            if one.runtime is None and one.state() is not None:  # not one that is gone already
                self.without_runtime.add(process)
        return bool(newcomers)

    def stop(self) -> SourceStatus:
        for one in self.watched.values():
            one.close()
        blind = len(self.without_runtime)
        unsure = (
            f"no _PyRuntime in {blind} processes: waits for the GIL there count as lock"
            if blind
            else None
        )
        reason = "; ".join(why for why in (self.pace.slowed, unsure) if why) or None
        return SourceStatus(self.NAME, "partial" if reason else "ok", reason, self.pace.share)
