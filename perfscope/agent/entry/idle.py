"""The idle rule: is the main thread waiting and nothing else?

Idle means the same waiting system call, the same stack pointer and not one context switch for
IDLE_NS. A thread like this reaches no bytecode boundary, so a pending call would never run; and it
is inside no allocator and holds no short lock, so a function may be called on it.
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
0 1 7 19 20 23 34 35 42 43 44 45 46 47 61 65 70 72 73 128 130 202 219 220 230 232 243 247 270 271 281 288 299 426 441 449 455
"""  # noqa: E501
WAITING = frozenset(map(int, WAITING_NUMBERS.split()))


@dataclass(frozen=True)
class Wait:
    """One look at a thread that waits: system call number, stack pointer, context switches so
    far.
    """

    call: int
    stack: int
    switches: int

    def same_as(self, other: "Wait") -> bool:
        calls = {self.call, other.call}
        same_call = len(calls) == 1 or RESTART_SYSCALL in calls
        return same_call and self.stack == other.stack and self.switches == other.switches


class IdleWatch:
    """Looks at one thread again and again; `idle` is the wait once it has lasted IDLE_NS without a
    break.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.first: Wait | None = None
        self.since_ns = 0
        self.idle: Wait | None = None

    def look(self) -> Wait | None:
        """One look: the wait under way, None when the thread does not wait. Raises OSError when it
        cannot be looked at.
        """
        now_ns, now = time.monotonic_ns(), waiting(self.pid)
        if now is None or self.first is None or not now.same_as(self.first):
            self.first, self.since_ns, self.idle = now, now_ns, None
        elif now_ns - self.since_ns >= IDLE_NS:
            self.idle = now
        return now

    def settle(self) -> Wait | None:
        """Look until it is clear: the wait when the thread is idle, None as soon as it moves."""
        first = self.look()
        while first is not None:
            time.sleep(SAMPLE_S)
            now = self.look()
            if self.idle is not None:
                return self.idle
            if now is None or not now.same_as(first):
                return None
        return None


def waiting(pid: int) -> Wait | None:
    """The wait that the main thread is in, None when it is in none. Raises OSError when it cannot
    be looked at.
    """
    place = f"/proc/{pid}/task/{pid}"
    with open(f"{place}/syscall", encoding="ascii") as stream:
        fields = stream.read().split()
    if len(fields) < 9 or int(fields[0]) not in WAITING:
        return None
    switches = 0
    with open(f"{place}/status", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if "voluntary_ctxt_switches" in line:
                switches += int(line.split()[1])
    return Wait(int(fields[0]), int(fields[7], 16), switches)
