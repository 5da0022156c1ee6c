"""Enters a process from two child processes: a tracer, and a watcher that can replace it.

Killing or freezing the agent does not affect them: each has a session of its own, lives for a
fraction of a second, and ends with the other. The watcher kills a tracer that hangs for
MOST_STOPPED_NS, and starts another one if a tracer was killed. The target has restored itself by
then (`agent.entry.remote_call`).
"""

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import dataclass

import msgspec

from perfscope.agent.entry import EntryProgress, enter
from perfscope.agent.host import proc
from perfscope.errors import PerfscopeError

CHECK_S = 0.025
# With one CHECK_S before a stop is noticed and one after: 250 ms.
MOST_STOPPED_NS = 200_000_000
MOST_TRACERS = 8
# The time that must be left for another tracer.
SHORTEST_S = 0.5
# How long after the deadline a tracer that still runs is killed.
LATEST_NS = 5_000_000_000
TRACING_STOP, SIGNAL_STOP = "t", "T"
NO_HANG, TRACER_STOPPED = 0, 1
STANDARD_STREAMS = (0, 1, 2)
MOST_FILES_TO_CLOSE = 65536
PR_SET_PDEATHSIG = 1


class EntryReport(msgspec.Struct):
    """The outcome of an entry; `error` is null if the source has been started."""

    way: str = ""
    stopped_ns: int = 0
    attempts: int = 0
    error: str | None = None


@dataclass
class PendingEntry:
    """An entry that is under way; `pipe` becomes readable when it has ended."""

    pid: int
    child: int
    pipe: int
    began_ns: int

    def report(self) -> EntryReport | None:
        """Return the outcome, None while the entry is under way. Call it until there is one."""
        try:
            encoded = os.read(self.pipe, 65536)
        except BlockingIOError:
            return None
        os.close(self.pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.child, 0)
        if not encoded:
            return interrupted_entry(self.pid)
        return msgspec.json.decode(encoded, type=EntryReport)


@dataclass(frozen=True)
class EntryTask:
    """The entry to make: run `source` in process `pid`, until CLOCK_MONOTONIC `until_ns`."""

    pid: int
    source: str
    until_ns: int
    progress: EntryProgress

    @property
    def left_s(self) -> float:
        """The time that is left, in seconds."""
        return (self.until_ns - time.monotonic_ns()) / 1e9


def interrupted_entry(pid: int) -> EntryReport:
    """Return the report of an entry whose processes ended without one."""
    return EntryReport(error=f"attaching to pid {pid} was interrupted: try again")


def enter_from_child(pid: int, source: str, deadline_s: float) -> PendingEntry:
    """Start an entry of `pid` in child processes; never blocks."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    began_ns = time.monotonic_ns()
    child = os.fork()
    if child:
        os.close(writing)
        return PendingEntry(pid, child, reading, began_ns)
    try:
        begin_session()
        keep_only(writing)
        until_ns = began_ns + int(deadline_s * 1e9)
        report = run_tracers(EntryTask(pid, source, until_ns, EntryProgress()))
        os.write(writing, report or msgspec.json.encode(interrupted_entry(pid)))
    finally:
        os._exit(0)


def run_tracers(task: EntryTask) -> bytes:
    """Run a tracer, and another one if it is killed; return the report, empty if there is none."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for _ in range(MOST_TRACERS):
        watcher, tracer = os.getpid(), os.fork()
        if not tracer:
            run_entry(task, watcher)
        was_killed = os.WIFSIGNALED(watch_tracer(tracer, task))
        has_outcome = task.progress.report or task.progress.script_requested
        if has_outcome or not was_killed or task.left_s < SHORTEST_S:
            break
    return task.progress.report


def watch_tracer(tracer: int, task: EntryTask) -> int:
    """Wait for the tracer's end, and kill it if it hangs for MOST_STOPPED_NS.

    Returns its wait status.
    """
    hang = seen_ns = 0
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, CHECK_S)
        found, status = os.waitpid(tracer, os.WNOHANG)
        if found:
            task.progress.stop_began_ns = 0
            return status
        now_ns, current = time.monotonic_ns(), current_hang(tracer, task)
        if current != hang:
            hang, seen_ns = current, now_ns
        hangs = hang != NO_HANG and now_ns - seen_ns >= MOST_STOPPED_NS
        if hangs or now_ns >= task.until_ns + LATEST_NS:
            os.kill(tracer, signal.SIGKILL)


def current_hang(tracer: int, task: EntryTask) -> int:
    """Return a number that stays the same while one hang lasts, NO_HANG if the tracer works.

    It hangs while it keeps the target stopped, and while it is itself stopped by a signal.
    """
    began_ns = task.progress.stop_began_ns
    if began_ns and has_state(task.pid, TRACING_STOP):
        return began_ns
    return TRACER_STOPPED if has_state(tracer, SIGNAL_STOP) else NO_HANG


def has_state(pid: int, state: str) -> bool:
    """Return whether the main thread of the process is in `state`."""
    stat = proc.stat(pid)
    return stat is not None and stat.state == state


def run_entry(task: EntryTask, watcher: int) -> None:
    """Enter, and leave the report in the task's progress; does not return."""
    report = EntryReport(error=f"attaching to pid {task.pid} failed unexpectedly")
    try:
        begin_session()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        end_with(watcher)
        try:
            entry = enter(task.pid, task.source, deadline_s=task.left_s, progress=task.progress)
            report = EntryReport(entry.way, entry.stopped_ns, entry.attempts)
        except PerfscopeError as refusal:
            report = EntryReport(error=str(refusal))
        except OSError as error:
            reason = error.strerror or error
            report = EntryReport(error=f"attaching to pid {task.pid} failed: {reason}")
        task.progress.report = msgspec.json.encode(report)
    finally:
        os._exit(0)


def begin_session() -> None:
    """Begin a session of its own, so that signals to the agent's do not reach this process."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def keep_only(writing: int) -> None:
    """Close inherited files except `writing`.

    Probes notice the agent's end only if no other process has its sockets open.
    """
    os.closerange(len(STANDARD_STREAMS), writing)
    os.closerange(writing + 1, min(os.sysconf("SC_OPEN_MAX"), MOST_FILES_TO_CLOSE))
    null = os.open(os.devnull, os.O_RDWR)
    for stream in STANDARD_STREAMS:
        os.dup2(null, stream)
    os.close(null)
