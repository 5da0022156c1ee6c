"""Enters a process from processes of our own: a tracer that may be killed or frozen, and a watcher
that replaces it.

Neither a kill nor a freeze of the agent reaches them: each is a session of its own, lives for a
fraction of a second, and ends with the other. The watcher kills a tracer whose target has been
stopped for MOST_STOPPED_NS, and starts another one where a tracer was killed: the target has
restored itself by then (`agent.entry.remote_call`).
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
MOST_STOPPED_NS = 200_000_000
"""With one CHECK_S before it is seen and one after: 250 ms."""
MOST_TRACERS = 8
SHORTEST_S = 0.5
"""Time that must be left for another tracer."""
LATEST_NS = 5_000_000_000
"""How long after its deadline a tracer that has not ended is killed."""
TRACING_STOP = "t"
PR_SET_PDEATHSIG = 1


class Report(msgspec.Struct):
    """How an entry went: `error` is null when the source has been handed over."""

    way: str = ""
    stopped_ns: int = 0
    attempts: int = 0
    error: str | None = None


@dataclass
class Entering:
    """An entry under way; `pipe` becomes readable when it is over."""

    pid: int
    child: int
    pipe: int
    began_ns: int

    def report(self) -> Report | None:
        """The outcome, or None while it is under way; to be asked for until it is there."""
        try:
            said = os.read(self.pipe, 65536)
        except BlockingIOError:
            return None
        os.close(self.pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.child, 0)
        if not said:
            return cut_short(self.pid)
        return msgspec.json.decode(said, type=Report)


@dataclass(frozen=True)
class EntryTask:
    """What to enter: `source` into process `pid`, until CLOCK_MONOTONIC `until_ns`."""

    pid: int
    source: str
    until_ns: int
    progress: EntryProgress

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return (self.until_ns - time.monotonic_ns()) / 1e9


def cut_short(pid: int) -> Report:
    """Return the report of an entry that nobody reported on."""
    return Report(error=f"entering pid {pid} was cut short")


def enter_apart(pid: int, source: str, deadline_s: float) -> Entering:
    """Start entering `pid` in processes of our own; never blocks."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    began_ns = time.monotonic_ns()
    child = os.fork()
    if child:
        os.close(writing)
        return Entering(pid, child, reading, began_ns)
    try:
        begin_session()
        keep_only(writing)
        report = watch(EntryTask(pid, source, began_ns + int(deadline_s * 1e9), EntryProgress()))
        os.write(writing, report or msgspec.json.encode(cut_short(pid)))
    finally:
        os._exit(0)


def watch(task: EntryTask) -> bytes:
    """Have the task done by tracers, one after another while they are killed; return the report,
    empty for none.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for _ in range(MOST_TRACERS):
        watcher, tracer = os.getpid(), os.fork()
        if not tracer:
            trace(task, watcher)
        killed = os.WIFSIGNALED(end_of(tracer, task))
        if (
            task.progress.report
            or task.progress.script_requested
            or not killed
            or task.left_s < SHORTEST_S
        ):
            break
    return task.progress.report


def end_of(tracer: int, task: EntryTask) -> int:
    """Wait for the tracer's end, and kill it when it keeps the target stopped; return its wait
    status.
    """
    visit = seen_ns = 0
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, CHECK_S)
        found, status = os.waitpid(tracer, os.WNOHANG)
        if found:
            task.progress.stop_began_ns = 0
            return status
        now_ns, current = time.monotonic_ns(), task.progress.stop_began_ns
        if not current or not is_stopped(task.pid):
            visit = 0
        elif visit != current:
            visit, seen_ns = current, now_ns
        elif now_ns - seen_ns >= MOST_STOPPED_NS:
            os.kill(tracer, signal.SIGKILL)
        if now_ns >= task.until_ns + LATEST_NS:
            os.kill(tracer, signal.SIGKILL)


def is_stopped(pid: int) -> bool:
    """Return whether the main thread is stopped by its tracer."""
    stat = proc.stat(pid)
    return stat is not None and stat.state == TRACING_STOP


def trace(task: EntryTask, watcher: int) -> None:
    """Enter, and leave the report in the task's progress; does not return."""
    report = Report(error="the entry broke off")
    try:
        begin_session()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        end_with(watcher)
        try:
            entry = enter(task.pid, task.source, deadline_s=task.left_s, progress=task.progress)
            report = Report(entry.way, entry.stopped_ns, entry.attempts)
        except PerfscopeError as refusal:
            report = Report(error=str(refusal))
        except OSError as error:
            report = Report(error=f"entering pid {task.pid} failed: {error.strerror or error}")
        task.progress.report = msgspec.json.encode(report)
    finally:
        os._exit(0)


def begin_session() -> None:
    """Leave the session and the process group: what is sent to those does not reach this
    process.
    """
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def keep_only(writing: int) -> None:
    """Close what was inherited: an open copy of our sockets would hide our death from the
    probes.
    """
    os.closerange(3, writing)
    os.closerange(
        writing + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536
    )
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
