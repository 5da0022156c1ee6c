"""Entering a running CPython process: running Python text in it within milliseconds, without a
restart.

enter(pid, source)       runs `source` once, on a thread of its own, with globals of its own
check_entry(pid)         raises CannotEnter with the reason and the fix if that is impossible
symbol_range(pid, name)  returns where CPython's data is in the target
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from perfscope.agent.entry.by_ptrace import enter_by_ptrace
from perfscope.agent.entry.pep768 import enter_by_debugger_fields
from perfscope.agent.entry.process_identity import Target, read_identity
from perfscope.agent.entry.refusals import REMOTE_EXEC_SINCE, check_entry, gone, known_version
from perfscope.agent.entry.seccomp_filter import check_filters, needs_filter_check
from perfscope.agent.entry.shared_progress import EntryProgress
from perfscope.agent.entry.symbols import symbol_range
from perfscope.agent.host import proc

__all__ = ["Entry", "EntryProgress", "check_entry", "enter", "symbol_range"]


@dataclass(frozen=True)
class Entry:
    """A successful entry.

    `way` is pending-call, idle-call or remote-exec, `stopped_ns` the longest stop of the main
    thread.
    """

    way: str
    stopped_ns: int
    attempts: int


def enter(
    pid: int, source: str, *, deadline_s: float = 10, progress: EntryProgress | None = None
) -> Entry:
    """Run `source` (Python text) in process `pid`; return once its thread has been started there.

    No Python code of ours runs on the main thread, `__main__` is not changed, and exceptions of
    `source` are dropped. Its thread blocks all signals. progress: of an entry that an earlier
    tracer began. Raises CannotEnter; SyntaxError if `source` is not Python.

    If the target is a child of this process, do not wait for it meanwhile: `Popen.poll` would take
    the events that the tracer waits for. Enter from another process instead, as
    `agent.entry.from_child` does.
    """
    try:
        # Opened before the checks, so that these are about the program whose memory is written.
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        target = Target(pid, memory, read_identity(pid))
    except OSError:
        check_entry(pid)  # raises the specific reason
        raise gone(pid) from None
    try:
        check_entry(pid)
        until_ns = time.monotonic_ns() + int(deadline_s * 1e9)
        return enter_checked(target, source, until_ns, progress or EntryProgress())
    finally:
        os.close(memory)


def enter_checked(target: Target, source: str, deadline_ns: int, progress: EntryProgress) -> Entry:
    """Enter a process that `check` has passed. Raises CannotEnter, SyntaxError."""
    if needs_filter_check(proc.read_status(target.pid)):
        with ThreadPoolExecutor(1, "perfscope-entry") as tracer:
            tracer.submit(check_filters, target, deadline_ns, progress).result()
    version = known_version(target.pid)
    if version >= REMOTE_EXEC_SINCE:
        progress.script_requested = True
        if enter_by_debugger_fields(target, source, version, deadline_ns):
            return Entry("remote-exec", 0, 1)
        progress.script_requested = False
    # The kernel identifies a tracer by its thread, and the end of this thread detaches everything.
    with ThreadPoolExecutor(1, "perfscope-entry") as tracer:
        entry = tracer.submit(enter_by_ptrace, target, source, deadline_ns, progress)
        way, stopped_ns, attempts = entry.result()
        return Entry(way, stopped_ns, attempts)
