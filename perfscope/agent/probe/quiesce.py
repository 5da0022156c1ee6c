"""Waiting until no thread is inside a removed callback of torch's profiler.

The profiler must not be ended earlier: each thread appends to its own lists without a lock, and
ending the profiler reads them. Both at once end the process with a C++ exception, or give wrong
data. A thread that has run for a while since the removal, or sleeps, is not inside a callback,
because that takes microseconds. A thread that is ready to run but gets no core is waited for, which
takes a while on a busy machine.
"""

import os
import time
from _thread import get_native_id
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK_S = 0.005
# A callback takes a few microseconds; with a page fault or a lock inside it, some tens of them.
RAN_NS = 500_000
# The low bits of the clock id of a thread's CPU time (linux/posix-timers.h). The bits above are the
# complement of the thread id.
CPU_OF_THREAD = 6
ASLEEP = (b"S", b"T", b"I")


def thread_cpu_ns(tid: int) -> int:
    """Return the CPU time of a thread of this process, -1 if it has ended.

    This does not release the GIL.
    """
    try:
        return time.clock_gettime_ns((~tid << 3) | CPU_OF_THREAD)
    except OSError:
        return -1


def is_asleep(tid: int) -> bool:
    """Return whether a thread sleeps or has ended."""
    try:
        with open(f"/proc/self/task/{tid}/stat", "rb") as stat:
            after_name = stat.read().rpartition(b")")[2]
    except OSError:
        return True
    return after_name.split()[0] in ASLEEP


def never() -> bool:
    """Return False: the default of `is_given_up`, which never gives up."""
    return False


def wait_until_no_thread_is_inside(
    longest_s: float, is_given_up: "Callable[[], bool]" = never
) -> bool:
    """Wait until every thread has either run for RAN_NS or was asleep at two checks in a row.

    Returns False if that takes longer than `longest_s`, or `is_given_up` returns True.
    """
    this_thread = get_native_id()
    tids = [tid for tid in map(int, os.listdir("/proc/self/task")) if tid != this_thread]
    begin_ns = {tid: thread_cpu_ns(tid) for tid in tids}
    last_ns: dict[int, int] = {}
    until = time.monotonic() + longest_s
    while time.monotonic() < until and not is_given_up():
        time.sleep(CHECK_S)
        now_ns = {tid: thread_cpu_ns(tid) for tid in begin_ns}
        begin_ns = {
            tid: ran_ns for tid, ran_ns in begin_ns.items() if 0 <= now_ns[tid] < ran_ns + RAN_NS
        }
        if all(last_ns.get(tid) == now_ns[tid] and is_asleep(tid) for tid in begin_ns):
            return True
        last_ns = now_ns
    return False
