"""Low priority for our own processes, so that the target does not wait for them.

What records gets a low weight, and not SCHED_IDLE: where the cores are full a thread of that class
ran once in seven seconds, and a probe leaves an agent that is silent for five. The diagnosis, for
which no probe waits, gets SCHED_IDLE.

An unprivileged thread cannot get its priority back, and children inherit it. What must not wait,
the entry into a target that stands still, is therefore started from a thread that has kept its
priority.
"""

import contextlib
import ctypes
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, overload

from perfscope.errors import PerfscopeError

Result = TypeVar("Result")

RECORDING_NICE = 5
"""A weight of 335 where a usual thread has 1024. With 36 (nice 15) 8 s of recording took a minute
on a crowded machine.
"""
PATIENCE_S = 10.0
POLL_S = 0.02
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
IOPRIO_WHO_PROCESS, IOPRIO_IDLE = 1, 3 << 13
LOWEST_WEIGHT, USUAL_WEIGHT = "19", "0"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

normal: ThreadPoolExecutor | None = None
"""The thread that keeps its priority; None while all threads have it."""


def lower_priority() -> None:
    """Give this process a low priority: its Python threads, and the threads and processes that they
    start later.
    """
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


class PrintToken:
    """One byte in a pipe for whoever takes it first: the child that is about to print, or the
    parent that gives up on it.
    """

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.write(writing, b"1")
        os.close(writing)

    def take(self) -> bool:
        """Return whether it was still there."""
        try:
            return bool(os.read(self.reading, 1))
        except BlockingIOError:
            return False

    def take_or_end(self) -> None:
        """End this process where the parent has given up on it."""
        if not self.take():
            os._exit(1)


def in_idle_child(work: Callable[[Callable[[], None]], int], patience_s: float = PATIENCE_S) -> int:
    """Return the exit code of `work`, done in a forked child of class SCHED_IDLE.

    `work` calls its argument right before it prints. Where the child has not come so far after
    `patience_s`, because no core became free, it is killed and `work` done here. The child has a
    session of its own: where the kernel weighs sessions (autogroup), a class orders only the
    threads of one session, so that ours gets the lowest weight. Ctrl-C and the parent's end end the
    child. Raises PerfscopeError where it began to print and did not end within another PATIENCE_S.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    token, parent = PrintToken(), os.getpid()
    child = os.fork()
    if child == 0:
        become_idle_child(parent)
        return work(token.take_or_end)
    try:
        code = exit_code_of(child, patience_s)
        if code is not None:
            return code
        set_session_weight(child, USUAL_WEIGHT)  # it may be about to print: then it is waited for
        given_up = token.take()
        if not given_up:
            code = exit_code_of(child, PATIENCE_S)
        if code is not None:
            return code
        os.kill(child, signal.SIGKILL)
        exit_code_of(child)
        if given_up:
            return work(lambda: None)
        raise PerfscopeError(
            "the diagnosis could not be printed to its end: `perfscope analyze RUN` prints it again"
        )
    finally:
        os.close(token.reading)


def become_idle_child(parent: int) -> None:
    """Set the class and the session of a child, which ends with its parent."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    set_session_weight(os.getpid(), LOWEST_WEIGHT)


def set_session_weight(pid: int, nice: str) -> None:
    """Set how the kernel weighs the session of a process, where it weighs sessions; no right is
    needed up to nice 0.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(nice)


@overload
def exit_code_of(child: int) -> int: ...
@overload
def exit_code_of(child: int, patience_s: float) -> int | None: ...
def exit_code_of(child: int, patience_s: float | None = None) -> int | None:
    """Wait for a child and return its exit code, 1 where a signal ended it, None after
    `patience_s`; passes Ctrl-C on.
    """
    until_s = None if patience_s is None else time.monotonic() + patience_s
    while until_s is None or time.monotonic() < until_s:
        try:
            pid, status = os.waitpid(child, 0 if until_s is None else os.WNOHANG)
            if pid:
                return max(os.waitstatus_to_exitcode(status), 0) if os.WIFEXITED(status) else 1
            time.sleep(POLL_S)
        except KeyboardInterrupt:
            os.kill(child, signal.SIGINT)
    return None
