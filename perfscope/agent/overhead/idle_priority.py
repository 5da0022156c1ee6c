"""Low priority for our own processes, so that the target does not wait for them.

The recording gets a low weight, but not SCHED_IDLE: on full cores, a thread of that class ran only
once in seven seconds, and a probe leaves when it has not heard from the agent for five. The
diagnosis, for which no probe waits, gets SCHED_IDLE.

An unprivileged thread cannot raise its priority again, and children inherit it. The entry into a
target, which is stopped meanwhile, must not wait, so it is started from a thread that has kept its
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
"""This gives a weight of 335; a normal thread has 1024. With a weight of 36 (nice 15), a recording
of 8 s took a minute on a busy machine.
"""
PATIENCE_S = 10.0
POLL_S = 0.02
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
IOPRIO_WHO_PROCESS, IOPRIO_IDLE = 1, 3 << 13
LOWEST_WEIGHT, NORMAL_WEIGHT = "19", "0"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

normal_thread: ThreadPoolExecutor | None = None
"""The thread that keeps its priority; None while all threads have a normal one."""


def lower_priority() -> None:
    """Give all Python threads of this process a low priority.

    Threads and processes that they start later inherit it.
    """
    global normal_thread
    if normal_thread is not None:
        return
    normal_thread = ThreadPoolExecutor(1, "normal-priority")
    excluded = normal_thread.submit(threading.get_native_id).result()
    for thread in threading.enumerate():
        if thread.native_id is not None and thread.native_id != excluded:
            set_nice(thread.native_id, RECORDING_NICE)
            set_idle_io(thread.native_id)


def set_nice(tid: int, nice: int) -> None:
    """Lower the priority of one thread to `nice`, if it is not that low already."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, tid, max(nice, os.getpriority(os.PRIO_PROCESS, tid)))


def set_idle_io(tid: int) -> None:
    """Let the disk serve one thread only when no other thread needs it."""
    number = IOPRIO_SET.get(platform.machine())
    if number is not None:
        LIBC.syscall(number, IOPRIO_WHO_PROCESS, tid, IOPRIO_IDLE)


def at_normal_priority(function: Callable[[], Result]) -> Result:
    """Return what `function` returns, run with the priority that this process was started with."""
    if normal_thread is None:
        return function()
    return normal_thread.submit(function).result()


class PrintToken:
    """One byte in a pipe, taken by the child before it prints, or by the parent to give it up."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.write(writing, b"1")
        os.close(writing)

    def take(self) -> bool:
        """Take the byte; return False where the other process has taken it."""
        try:
            return bool(os.read(self.reading, 1))
        except BlockingIOError:
            return False

    def take_or_end(self) -> None:
        """End this process where the parent has given it up."""
        if not self.take():
            os._exit(1)


def in_idle_child(work: Callable[[Callable[[], None]], int], patience_s: float = PATIENCE_S) -> int:
    """Return the exit code of `work`, done in a forked child of class SCHED_IDLE.

    `work` calls its argument right before it prints. Where the child has not done so after
    `patience_s`, because no core was free, it is killed and `work` is done in this process.

    The child has a session of its own with the lowest weight: where the kernel weighs sessions
    (autogroup), the class orders only the threads within a session. Ctrl-C and the end of the
    parent end the child. Raises PerfscopeError where the child began to print and did not end
    within another PATIENCE_S.
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
        # The child may be about to print; it then gets a normal weight and is waited for.
        set_session_weight(child, NORMAL_WEIGHT)
        is_given_up = token.take()
        if not is_given_up:
            code = exit_code_of(child, PATIENCE_S)
        if code is not None:
            return code
        os.kill(child, signal.SIGKILL)
        exit_code_of(child)
        if is_given_up:
            return work(lambda: None)
        raise PerfscopeError(
            "the diagnosis was not printed completely; print it again with `perfscope analyze RUN`"
        )
    finally:
        os.close(token.reading)


def become_idle_child(parent: int) -> None:
    """Set the class and session of this child, and let it end with its parent."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    set_session_weight(os.getpid(), LOWEST_WEIGHT)


def set_session_weight(pid: int, nice: str) -> None:
    """Set the weight of a process's session, where the kernel weighs sessions.

    No right is needed up to nice 0.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(nice)


@overload
def exit_code_of(child: int) -> int: ...
@overload
def exit_code_of(child: int, patience_s: float) -> int | None: ...
def exit_code_of(child: int, patience_s: float | None = None) -> int | None:
    """Wait for a child and forward Ctrl-C to it; return its exit code.

    Return 1 where a signal ended it, and None where it has not ended after `patience_s`.
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
