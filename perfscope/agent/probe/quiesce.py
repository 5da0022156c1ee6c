"""When a callback that was taken out is left by every thread: torch's profiler must not be ended
while one is inside it.

What a thread records is put into lists of its own without a lock; read in the middle of that, they
end the process (an exception of C++) or are misread. A thread that has run for a while since, or
sleeps, is out of a callback that takes microseconds. Threads that are ready to run but got no core
are waited for: on a full machine that takes a while.
"""

import os
import time
from _thread import get_native_id
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S = 0.005
RAN_NS = 500_000
"""A callback takes a few microseconds; a page fault or a lock inside it some tens."""
CPU_OF_THREAD = 6
"""The low bits of a clock of a thread's CPU time (linux/posix-timers.h); above them stands the
complement of its id.
"""


def ran_ns(tid: int) -> int:
    """CPU time of a thread of this process, -1 when it is gone. No system call lets go of the GIL
    here.
    """
    try:
        return time.clock_gettime_ns((~tid << 3) | CPU_OF_THREAD)
    except OSError:
        return -1


def asleep(tid: int) -> bool:
    try:
        with open(f"/proc/self/task/{tid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"S", b"T", b"I")
    except OSError:
        return True


def never() -> bool:
    return False


def no_thread_inside(longest_s: float, given_up: "Callable[[], bool]" = never) -> bool:
    """Wait until every thread has been seen to run on, or asleep twice; False when that takes
    longer or is given up.
    """
    own = get_native_id()
    before = {tid: ran_ns(tid) for tid in map(int, os.listdir("/proc/self/task")) if tid != own}
    last: dict[int, int] = {}
    until = time.monotonic() + longest_s
    while time.monotonic() < until and not given_up():
        time.sleep(LOOK_S)
        now = {tid: ran_ns(tid) for tid in before}
        before = {tid: ran for tid, ran in before.items() if 0 <= now[tid] < ran + RAN_NS}
        if all(last.get(tid) == now[tid] and asleep(tid) for tid in before):
            return True
        last = now
    return False
