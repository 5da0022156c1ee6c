"""Low priority for our own processes, so that the target does not wait for them.

What records gets a low weight, and not SCHED_IDLE: where the cores are full a thread of that class ran once in seven
seconds, and a probe leaves an agent that is silent for five. The diagnosis, for which no probe waits, gets SCHED_IDLE.

An unprivileged thread cannot get its priority back, and children inherit it. What must not wait, the entry into a target
that stands still, is therefore started from a thread that has kept its priority.
"""

import contextlib
import ctypes
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

RECORDING_NICE = 15
"""A weight of 36 where a usual thread has 1024: a few hundredths of a core that others want."""
DIAGNOSIS_NICE = 10
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
IOPRIO_WHO_PROCESS, IOPRIO_IDLE = 1, 3 << 13
LOWEST_WEIGHT = "19"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

normal: ThreadPoolExecutor | None = None
"""The thread that keeps its priority; None while all threads have it."""


def lower_priority() -> None:
    """Give this process a low priority: its Python threads, and the threads and processes that they start later."""
    global normal
    if normal is not None:
        return
    normal = ThreadPoolExecutor(1, "normal-priority")
    keeper = normal.submit(threading.get_native_id).result()
    for thread in threading.enumerate():
        if thread.native_id is not None and thread.native_id != keeper:
            set_nice(thread.native_id, RECORDING_NICE)
            set_idle_io(thread.native_id)


def set_nice(tid: int, nice: int) -> None:
    """Lower the priority of one thread to `nice`, if it is not that low already."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, tid, max(nice, os.getpriority(os.PRIO_PROCESS, tid)))


def set_idle_io(tid: int) -> None:
    """Let the disk serve one thread only when nobody else wants it."""
    number = IOPRIO_SET.get(platform.machine())
    if number is not None:
        LIBC.syscall(number, IOPRIO_WHO_PROCESS, tid, IOPRIO_IDLE)


def at_normal_priority(function: Callable[[], Result]) -> Result:
    """Return what `function` returns, run with the priority that this process was started with."""
    return function() if normal is None else normal.submit(function).result()


def with_low_priority(function: Callable[[], Result]) -> Result:
    """Return what `function` returns, run on a thread with a tenth of a usual weight.

    For the diagnosis where no core is free: with SCHED_IDLE it would take minutes.
    """

    def run() -> Result:
        set_nice(threading.get_native_id(), DIAGNOSIS_NICE)
        return function()

    return at_normal_priority(run)


def continue_in_idle_child() -> int | None:
    """Fork: return None in a child of class SCHED_IDLE, and in the parent the child's exit code, once it has ended.

    The child goes on where the parent was, in a session of its own: where the kernel weighs sessions (autogroup), a class
    orders only the threads of one session, and ours gets the lowest weight. Ctrl-C and the parent's end end the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent, child = os.getpid(), os.fork()
    if child:
        return exit_code_of(child)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(LOWEST_WEIGHT)
    return None


def exit_code_of(child: int) -> int:
    """Wait for a child and return its exit code, 1 where a signal ended it; passes Ctrl-C on."""
    while True:
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return code if code >= 0 else 1
        except KeyboardInterrupt:
            os.kill(child, signal.SIGINT)
