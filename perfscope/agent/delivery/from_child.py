"""Enters a process from a child of our own, so that a SIGKILL of the agent cannot strike while a target's registers are changed.

A tracer that dies in the middle of a remote call leaves the target running with the call's registers. The child is its
own session, lives for a fraction of a second and reports one line through a pipe.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass

import msgspec

from perfscope.agent.entry import enter
from perfscope.errors import PerfscopeError


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
            return Report(error=f"entering pid {self.pid} was cut short")
        return msgspec.json.decode(said, type=Report)


def enter_apart(pid: int, source: str, deadline_s: float) -> Entering:
    """Start entering `pid` in a child process; never blocks."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    began_ns = time.monotonic_ns()
    child = os.fork()
    if child:
        os.close(writing)
        return Entering(pid, child, reading, began_ns)
    report = Report(error="the entry broke off")
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        keep_only(writing)
        try:
            entry = enter(pid, source, deadline_s=deadline_s)
            report = Report(entry.way, entry.stopped_ns, entry.attempts)
        except PerfscopeError as refusal:
            report = Report(error=str(refusal))
        except OSError as error:
            report = Report(error=f"entering pid {pid} failed: {error.strerror or error}")
        os.write(writing, msgspec.json.encode(report))
    finally:
        os._exit(0)


def keep_only(writing: int) -> None:
    """Close what was inherited: an open copy of our sockets would hide our death from the probes."""
    os.closerange(3, writing)
    os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
