"""What the main threads of ranks and workers are doing, asked twenty times a second: running, or waiting, and for what.

From /proc/PID/task/TID/syscall: the number of the system call a thread sits in, and its arguments. A futex inside CPython's
`_PyRuntime` is the GIL: there its condition variable lies (3.8 to 3.14, main interpreter).
"""

import os
import time

from perfscope.agent import proc
from perfscope.agent.collector import Job, TargetProcess
from perfscope.agent.collectors.host import opened
from perfscope.agent.entry import symbol_range
from perfscope.errors import CannotEnter, CollectorUnavailable
from perfscope.traces.manifest import SourceStatus

PERIOD_NS = 50_000_000
MOST_SHARE = 0.008
ROLES = ("main", "loader-worker")
FUTEX = 202
BY_DESCRIPTOR = {0, 1, 17, 18, 19, 20, 295, 296, 327, 328, 40}  # read, write, p*, *v, sendfile
CALLS = {
    **dict.fromkeys(
        (2, 4, 5, 6, 21, 26, 74, 75, 76, 77, 78, 82, 83, 87, 217, 257, 262, 263, 264, 269, 277, 285, 332), "file"
    ),
    **dict.fromkeys((208, 333, 426), "file"),  # io_getevents, io_pgetevents, io_uring_enter
    **dict.fromkeys((42, 43, 44, 45, 46, 47, 288, 299, 307), "network"),  # connect, accept, send*, recv*
    **dict.fromkeys((7, 23, 232, 270, 271, 281, 441), "poll"),
    **dict.fromkeys((35, 230), "sleep"),
    **dict.fromkeys((220, 64, 65), "lock"),  # System V semaphores
}


class Watched:
    """One main thread: its open files and where its GIL lies."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        self.target = target
        self.stream = job.run.jsonl("host.states", target.process)
        self.call = opened(f"/proc/{target.pid}/task/{target.pid}/syscall")
        self.stat = opened(f"/proc/{target.pid}/task/{target.pid}/stat")
        try:
            self.runtime = symbol_range(target.pid, "_PyRuntime") if target.is_python else None
        except CannotEnter:
            self.runtime = None

    def state(self) -> str | None:
        """What the thread is doing; None when it is gone."""
        try:
            said = os.pread(self.call, 256, 0).split()
        except OSError:
            return None
        if not said or said[0] == b"running":
            return "running" if said else None
        number = int(said[0])
        if number == FUTEX:
            return "gil" if self.in_runtime(int(said[1], 16)) else "lock"
        if number in BY_DESCRIPTOR:
            return self.kind_of(int(said[1], 16))
        if number == -1:
            return "disk" if self.letter() == "D" else "other"
        return CALLS.get(number, "other")

    def in_runtime(self, address: int) -> bool:
        return self.runtime is not None and self.runtime[0] <= address < self.runtime[0] + self.runtime[1]

    def kind_of(self, descriptor: int) -> str:
        try:
            target = os.readlink(f"/proc/{self.target.pid}/fd/{descriptor}")
        except OSError:
            return "other"
        kinds = (("socket:", "network"), ("pipe:", "pipe"), ("anon_inode:", "poll"))
        return next((state for prefix, state in kinds if target.startswith(prefix)), "file")

    def letter(self) -> str:
        try:
            text = os.pread(self.stat, 512, 0).decode("ascii", "replace")
        except OSError:
            return "?"
        return text[text.rindex(")") + 2]

    def close(self) -> None:
        for file in (self.call, self.stat):
            if file >= 0:
                os.close(file)


class ThreadStates:
    """The collector; slows down by itself when there are many threads."""

    NAME = "thread_states"

    def start(self, job: Job) -> None:
        if proc.read(f"/proc/{job.root_pid}/syscall") is None:
            raise CollectorUnavailable(
                "the kernel does not let us read what its threads wait for (same right as ptrace)"
            )
        self.job = job
        self.watched: dict[int, Watched] = {}
        self.period_ns = PERIOD_NS
        self.began_ns, self.busy_ns, self.samples = time.monotonic_ns(), 0, 0

    def poll(self, now_ns: int) -> int:
        began = time.thread_time_ns()
        newcomers = self.follow()
        for one in self.watched.values():
            state = one.state()
            if state is not None:
                self.samples += 1
                one.stream.append({"ts": time.monotonic_ns(), "tid": one.target.ns_pid, "state": state})
        took = time.thread_time_ns() - began
        self.busy_ns += took
        if not newcomers:
            self.period_ns = max(PERIOD_NS, (7 * self.period_ns + int(took / MOST_SHARE)) // 8)
        return now_ns + self.period_ns

    def follow(self) -> bool:
        """Take in newcomers, let go of the gone; says whether somebody came."""
        wanted = {one.process: one for one in self.job.processes.values() if one.role in ROLES}
        fresh = [one for process, one in wanted.items() if process not in self.watched]
        for one in fresh:
            self.watched[one.process] = Watched(one, self.job)
        for process in [process for process in self.watched if process not in wanted]:
            self.watched.pop(process).close()
        return bool(fresh)

    def stop(self) -> SourceStatus:
        for one in self.watched.values():
            one.close()
        share = self.busy_ns / max(time.monotonic_ns() - self.began_ns, 1)
        return SourceStatus(self.NAME, "ok", None, share)
