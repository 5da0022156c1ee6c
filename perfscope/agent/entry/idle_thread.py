"""Whether the main thread is idle, that is, waits and does nothing else.

Idle means the same waiting system call, the same stack pointer and no context switch for IDLE_NS.
Such a thread reaches no bytecode boundary, so a pending call would never run. It is not inside an
allocator and holds no short lock, so a function may be called on it.
"""

import time
from dataclasses import dataclass

IDLE_NS = 200_000_000
SAMPLE_S = 0.01
RESTART_SYSCALL = 219
# read write poll readv writev select pause nanosleep accept connect sendto recvfrom sendmsg recvmsg
# wait4 semop msgrcv flock fcntl rt_sigtimedwait rt_sigsuspend futex semtimedop restart_syscall
# clock_nanosleep epoll_wait mq_timedreceive waitid pselect6 ppoll epoll_pwait accept4 recvmmsg
# io_uring_enter epoll_pwait2 futex_waitv futex_wait
WAITING_NUMBERS = """
0 1 7 19 20 23 34 35 42 43 44 45 46 47 61 65 70 72 73 128 130 202 219 220 230 232 243 247 270 271
281 288 299 426 441 449 455
"""
WAITING = frozenset(map(int, WAITING_NUMBERS.split()))


@dataclass(frozen=True)
class ObservedWait:
    """What was seen of a waiting thread: system call, stack pointer, context switches so far."""

    call: int
    stack: int
    switches: int

    def is_same_wait(self, other: "ObservedWait") -> bool:
        """Return whether the thread has not run between the two observations."""
        calls = {self.call, other.call}
        same_call = len(calls) == 1 or RESTART_SYSCALL in calls
        return same_call and self.stack == other.stack and self.switches == other.switches


class IdleWatch:
    """Repeated observations of one thread; `idle` is its wait once that has lasted IDLE_NS."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.first: ObservedWait | None = None
        self.since_ns = 0
        self.idle: ObservedWait | None = None

    def observe(self) -> ObservedWait | None:
        """Return the current wait, None if the thread does not wait.

        Raises OSError if the process cannot be read.
        """
        now_ns, now = time.monotonic_ns(), current_wait(self.pid)
        if now is None or self.first is None or not now.is_same_wait(self.first):
            self.first, self.since_ns, self.idle = now, now_ns, None
        elif now_ns - self.since_ns >= IDLE_NS:
            self.idle = now
        return now

    def settle(self) -> ObservedWait | None:
        """Observe until the thread is idle (return its wait) or has moved (return None)."""
        first = self.observe()
        while first is not None:
            time.sleep(SAMPLE_S)
            now = self.observe()
            if self.idle is not None:
                return self.idle
            if now is None or not now.is_same_wait(first):
                return None
        return None


def current_wait(pid: int) -> ObservedWait | None:
    """Return the wait that the main thread is in, None if it is in none.

    Raises OSError if the process cannot be read.
    """
    place = f"/proc/{pid}/task/{pid}"
    with open(f"{place}/syscall", encoding="ascii") as stream:
        fields = stream.read().split()
    if len(fields) < 9 or int(fields[0]) not in WAITING:
        return None
    switches = 0
    with open(f"{place}/status", encoding="utf-8", errors="replace", newline="\n") as stream:
        for line in stream:
            if "voluntary_ctxt_switches" in line:
                switches += int(line.split()[1])
    return ObservedWait(int(fields[0]), int(fields[7], 16), switches)
