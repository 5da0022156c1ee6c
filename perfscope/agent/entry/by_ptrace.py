"""Enters through ptrace: by a pending call while the main thread runs, by a direct call while it
only waits.
"""

import os
import time

from perfscope.agent.entry import injected_page, injected_source, ptrace
from perfscope.agent.entry.idle_thread import IdleWatch, ObservedWait
from perfscope.agent.entry.injected_page import InjectedPage
from perfscope.agent.entry.injection import Injection, NotIdleAnyMore
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.ptrace import ProcessGone, TimeUp
from perfscope.agent.entry.refusals import (
    ENDED,
    REMOTE_EXEC_SINCE,
    START,
    gone,
    innermost_pid,
    main_thread_state,
    refused_by_kernel,
    status_of,
)
from perfscope.agent.entry.remote_call import CallFailed, CallSite, place_code
from perfscope.agent.entry.runtime_state import read_runtime_state
from perfscope.agent.entry.shared_progress import EntryProgress
from perfscope.agent.entry.symbols import addresses, c_library_files, python_files, python_version
from perfscope.errors import CannotEnter

RETRY_S = 0.05
MOST_WITHDRAWALS = 20
POLL_S = 0.002
MOST_STATE_CHECKS = 20


def enter_by_ptrace(
    target: Target, source: str, deadline_ns: int, progress: EntryProgress | None = None
) -> tuple[str, int, int]:
    """Enter before CLOCK_MONOTONIC `deadline_ns`; return (way, longest stop in ns, stops).

    Call it on a thread that ends soon after: its end detaches from a target that could not be
    stopped. Raises CannotEnter, SyntaxError.
    """
    ptrace.sleep_exactly()
    pid, progress = target.pid, progress or EntryProgress()
    try:
        refuse_unsupported_machine(pid)
        functions = target_functions(pid)
        version = python_version(pid)
        refuse_free_threaded(target, functions["_PyRuntime"], version or 0)
        text = injected_source.bootstrap_text(source, innermost_pid(pid), version)
        page = InjectedPage(text, progress.base, progress.token)
        site = call_site(target, functions["__errno_location"])
        injection = Injection(target, functions, version or 0, page, site, progress, deadline_ns)
        way = inject(injection)
        return way, max(injection.stops_ns, default=0), len(injection.stops_ns)
    except PermissionError:
        raise refused_by_kernel(pid) from None
    except (ProcessGone, ProcessLookupError, FileNotFoundError):
        raise gone(pid) from None


def call_site(target: Target, errno_location: int) -> CallSite:
    """Return where calls are made from, with the code in place. Raises CannotEnter, OSError."""
    target.refuse_if_changed()
    site = place_code(target.pid, target.memory, innermost_pid(target.pid), errno_location)
    if site is None:
        if main_thread_state(target.pid) in ENDED:
            raise ProcessGone
        raise CannotEnter(f"pid {target.pid} has no free space in its mapped code: {START}")
    return site


def inject(injection: Injection) -> str:
    """Try both ways in turn until the source has been started; return the way it went.

    Raises CannotEnter if the time is up before.
    """
    idle = IdleWatch(injection.pid).settle()
    why = ""
    while time.monotonic_ns() < injection.deadline_ns:
        if has_started(injection):  # by an earlier tracer of this entry
            return "pending-call"
        try:
            if idle is not None:
                return injection.start_directly(idle)
            if not injection.queued:
                injection.queue()
        except NotIdleAnyMore:
            pass
        except CallFailed as reason:
            why = f" ({reason})"
        except TimeUp:
            raise time_ran_out(injection.pid, why) from None
        if injection.queued:
            idle = wait_for_start_or_idle(injection)
        else:
            time.sleep(RETRY_S)
            idle = IdleWatch(injection.pid).settle()
        if has_started(injection):
            return "pending-call"
    withdraw(injection)
    if has_started(injection):
        return "pending-call"
    raise time_ran_out(injection.pid, why)


def withdraw(injection: Injection) -> None:
    """Take back what has not run; try again while the main thread cannot be stopped for it."""
    for _ in range(MOST_WITHDRAWALS):
        try:
            injection.withdraw()
            return
        except CallFailed:
            time.sleep(RETRY_S)
        except TimeUp:
            return


def wait_for_start_or_idle(injection: Injection) -> ObservedWait | None:
    """Wait until the pending call has run (None), or the thread is idle (its wait)."""
    watch = IdleWatch(injection.pid)
    while time.monotonic_ns() < injection.deadline_ns and not has_started(injection):
        watch.observe()
        if watch.idle is not None:
            return watch.idle
        time.sleep(POLL_S)
    return None


def has_started(injection: Injection) -> bool:
    """Return whether the probe's thread has been started.

    Raises CannotEnter if the target could not start one, ProcessGone if it has exited.
    """
    if not injection.page.base:
        return False
    pid, state = injection.pid, injection.page_state()
    if state is not None and state.claimed and state.failed:
        reason = os.strerror(state.failed)
        withdraw(injection)
        raise CannotEnter(
            f"pid {pid} could not start a thread ({reason}): raise its pids or memory limit"
        )
    if state is None and main_thread_state(pid) in ENDED:
        raise ProcessGone
    return state is None or state.claimed


def time_ran_out(pid: int, why: str) -> CannotEnter:
    """Return the refusal for an entry that took too long, by what the main thread does."""
    state = settled_state(pid)
    if state in ("T", "t"):
        return CannotEnter(
            f"pid {pid} was stopped by a signal during the entry: let it run with `kill -CONT"
            f" {pid}`, and try again"
        )
    if state == "D":
        return CannotEnter(
            f"the main thread of pid {pid} waits in the kernel (state D, slow storage?): try again"
            " when it continues"
        )
    return CannotEnter(
        f"the main thread of pid {pid} reached no safe point in time{why}, because it runs native"
        " code: try again"
    )


def settled_state(pid: int) -> str:
    """Return the main thread's state.

    After its tracer has left, a thread that a signal stopped runs for a moment before it stops
    again.
    """
    for _ in range(MOST_STATE_CHECKS):
        state = main_thread_state(pid)
        if state != "R":
            return state
        time.sleep(POLL_S)
    return state


def refuse_unsupported_machine(pid: int) -> None:
    """Raise CannotEnter for the rare builds and machines where the calls would do harm."""
    if os.uname().machine != "x86_64":
        raise CannotEnter(f"entering pid {pid} by ptrace works on x86-64 only: {START}")
    status = status_of(pid)
    if "shstk" in status.get("x86_Thread_features", ""):
        raise CannotEnter(
            f"pid {pid} runs with a shadow stack: start it with"
            " GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"
        )


def refuse_free_threaded(target: Target, runtime: int, version: int) -> None:
    """Raise CannotEnter for a Python without the GIL, where other threads run during a stop.

    Raises OSError.
    """
    if not read_runtime_state(target.memory, runtime, version).is_free_threaded():
        return
    advice = "use 3.14 or newer"
    if version >= REMOTE_EXEC_SINCE:
        advice = "enter it while its main thread runs Python code"
    raise CannotEnter(
        f"pid {target.pid} is a free-threaded Python, which cannot be entered by ptrace: {advice},"
        f" or {START}"
    )


def target_functions(pid: int) -> dict[str, int]:
    """Return the address of each function that an entry needs.

    Raises CannotEnter that names a missing function, OSError.
    """
    python = (*injected_page.PYTHON_FUNCTIONS, "Py_AddPendingCall", "_PyRuntime")
    c_names = (*injected_page.C_FUNCTIONS, "mmap", "mprotect", "__errno_location")
    executable = python_files(pid)
    found = addresses(pid, executable, python)
    found |= addresses(pid, [*c_library_files(pid), *executable], c_names)
    missing = [name for name in (*python, *c_names) if name not in found]
    if missing:
        if main_thread_state(pid) in ENDED:
            raise ProcessGone
        raise CannotEnter(
            f"pid {pid} is a static or stripped build without the symbol {missing[0]}: {START}"
        )
    return {name: place[0] for name, place in found.items()}
