"""Entering a running CPython process: run Python text in it, without its restart, within
milliseconds.

enter(pid, source) -> Entry     hands `source` over; it runs once, on a thread of its own, in a
dict of its own
check(pid)                      raises CannotEnter with the reason and the fix where that is impossible
symbol_range(pid, name)         where CPython's own data lies in the target
"""  # noqa: E501

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from perfscope.agent.entry.by_ptrace import enter_by_ptrace
from perfscope.agent.entry.pep768 import enter_by_debugger_fields
from perfscope.agent.entry.process_identity import Target, identity_of
from perfscope.agent.entry.progress import EntryProgress
from perfscope.agent.entry.refusals import REMOTE_EXEC_SINCE, check, gone, known_version
from perfscope.agent.entry.seccomp_filter import judge, must_be_judged
from perfscope.agent.entry.symbols import symbol_range
from perfscope.agent.host import proc

__all__ = ["Entry", "EntryProgress", "check", "enter", "symbol_range"]


@dataclass(frozen=True)
class Entry:
    """How it went: `way` is pending-call, idle-call or remote-exec; `stopped_ns` the longest stop
    of the main thread.
    """

    way: str
    stopped_ns: int
    attempts: int


def enter(
    pid: int, source: str, *, deadline_s: float = 10, progress: EntryProgress | None = None
) -> Entry:
    """Run `source` (Python text) in process `pid`; returns once the thread that runs it has been
    started there.

    Nothing of ours runs as Python on the main thread, nothing is left in `__main__`, and what
    `source` raises is dropped. The thread has all signals blocked. progress: of an entry that an
    earlier tracer began. Raises CannotEnter; SyntaxError when `source` is no Python.

    When the target is a child of this process, nobody may wait for it meanwhile: a `Popen.poll`
    would take the tracer's news away. Enter from a child process of your own then, as `agent.apart`
    does.
    """
    try:
        # Before the checks: what they see, and the memory that is written to, are then of one and
        # the same program.
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        target = Target(pid, memory, identity_of(pid))
    except OSError:
        check(pid)  # says why
        raise gone(pid) from None
    try:
        check(pid)
        until_ns = time.monotonic_ns() + int(deadline_s * 1e9)
        return enter_checked(target, source, until_ns, progress or EntryProgress())
    finally:
        os.close(memory)


def enter_checked(target: Target, source: str, deadline_ns: int, progress: EntryProgress) -> Entry:
    """Enter a process that may be entered. Raises CannotEnter, SyntaxError."""
    if must_be_judged(proc.status(target.pid)):
        with ThreadPoolExecutor(1, "perfscope-entry") as tracer:
            tracer.submit(judge, target, deadline_ns, progress).result()
    version = known_version(target.pid)
    if version >= REMOTE_EXEC_SINCE:
        progress.script_requested = True
        if enter_by_debugger_fields(target, source, version, deadline_ns):
            return Entry("remote-exec", 0, 1)
        progress.script_requested = False
    # A thread of its own: ptrace knows its tracer by thread, and its end detaches whatever is left.
    with ThreadPoolExecutor(1, "perfscope-entry") as tracer:
        return Entry(
            *tracer.submit(enter_by_ptrace, target, source, deadline_ns, progress).result()
        )
