"""Enters through ptrace: a pending call where the main thread runs, a direct call where it only
waits.
"""

import os
import time

from perfscope.agent.entry import injected_page, ptrace, stub
from perfscope.agent.entry.idle import IdleWatch, Wait
from perfscope.agent.entry.injected_page import Landing
from perfscope.agent.entry.injection import NotIdleAnyMore, Visitor
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.progress import EntryProgress
from perfscope.agent.entry.ptrace import ProcessGone, TimeUp
from perfscope.agent.entry.refusals import (
    REMOTE_EXEC_SINCE,
    gone,
    main_thread_state,
    own_pid,
    refused_by_kernel,
    status_of,
)
from perfscope.agent.entry.remote_call import CallFailed, CallSite, place_code
from perfscope.agent.entry.runtime_state import read_runtime_state
from perfscope.agent.entry.symbols import addresses, c_library_files, python_files, python_version
from perfscope.errors import CannotEnter

RETRY_S = 0.05
WITHDRAWALS = 20
POLL_S = 0.002
STATE_LOOKS = 20


def enter_by_ptrace(
    target: Target, source: str, deadline_ns: int, progress: EntryProgress | None = None
) -> tuple[str, int, int]:
    """(way, longest stop in ns, stops), within CLOCK_MONOTONIC `deadline_ns`. Raises CannotEnter,
    SyntaxError.

    To be called on a thread that ends soon after: its end detaches from a target that could not be
    stopped.
    """
    ptrace.sleep_exactly()
    pid, progress = target.pid, progress or EntryProgress()
    try:
        refuse_what_ptrace_cannot(pid)
        functions = target_functions(pid)
        version = python_version(pid)
        refuse_free_threaded(target, functions["_PyRuntime"], version or 0)
        text = stub.text(source, own_pid(pid), version)
        landing = Landing(text, progress.base, progress.token)
        site = call_site(target, functions["__errno_location"])
        visitor = Visitor(target, functions, version or 0, landing, site, progress, deadline_ns)
        way = visit(visitor)
        return way, max(visitor.stops_ns, default=0), len(visitor.stops_ns)
    except PermissionError:
        raise refused_by_kernel(pid) from None
    except (ProcessGone, ProcessLookupError, FileNotFoundError):
        raise gone(pid) from None


def call_site(target: Target, errno_location: int) -> CallSite:
    """Return where calls are made from, with the code in its place. Raises CannotEnter, OSError."""
    target.refuse_if_changed()
    site = place_code(target.pid, target.memory, own_pid(target.pid), errno_location)
    if site is None:
        if main_thread_state(target.pid) in ("", "Z", "X"):
            raise ProcessGone
        raise CannotEnter(
            f"pid {target.pid} has no room for code in its mapped files: start it under `perfscope"
            " run`"
        )
    return site


def visit(visitor: Visitor) -> str:
    """Try, wait, try the other way, until the source has been handed over or the time is up; the
    way that it went.
    """
    idle = IdleWatch(visitor.pid).settle()
    why = ""
    while time.monotonic_ns() < visitor.deadline_ns:
        if landed(visitor):  # by an earlier tracer of this entry
            return "pending-call"
        try:
            if idle is not None:
                return visitor.start_directly(idle)
            if not visitor.queued:
                visitor.queue()
        except NotIdleAnyMore:
            pass
        except CallFailed as reason:
            why = f" ({reason})"
        except TimeUp:
            raise CannotEnter(never_came(visitor.pid, why)) from None
        if visitor.queued:
            idle = wait_for(visitor)
        else:
            time.sleep(RETRY_S)
            idle = IdleWatch(visitor.pid).settle()
        if landed(visitor):
            return "pending-call"
    take_back(visitor)
    if landed(visitor):
        return "pending-call"
    raise CannotEnter(never_came(visitor.pid, why))


def take_back(visitor: Visitor) -> None:
    """Take back what has not run, at a moment when the main thread can be stopped for it."""
    for _ in range(WITHDRAWALS):
        try:
            visitor.withdraw()
            return
        except CallFailed:
            time.sleep(RETRY_S)
        except TimeUp:
            return


def wait_for(visitor: Visitor) -> Wait | None:
    """Wait until the pending call has run, or the thread is seen to be idle: that wait then."""
    watch = IdleWatch(visitor.pid)
    while time.monotonic_ns() < visitor.deadline_ns and not landed(visitor):
        watch.look()
        if watch.idle is not None:
            return watch.idle
        time.sleep(POLL_S)
    return None


def landed(visitor: Visitor) -> bool:
    """Has the thread been started? Raises CannotEnter when the target could not start one,
    ProcessGone when it ended.
    """
    if not visitor.landing.base:
        return False
    state = visitor.state()
    if state is not None and state.claimed and state.failed:
        reason = os.strerror(state.failed)
        take_back(visitor)
        raise CannotEnter(
            f"pid {visitor.pid} could not start a thread ({reason}): raise its pids or memory limit"
        )
    if state is None and main_thread_state(visitor.pid) in ("", "Z", "X"):
        raise ProcessGone
    return state is None or state.claimed


def never_came(pid: int, why: str) -> str:
    """The line for a time that ran out, by what the main thread does."""
    state = settled_state(pid)
    if state in ("T", "t"):
        return (
            f"pid {pid} was stopped by a signal during the entry: let it run with `kill -CONT"
            f" {pid}`, and try again"
        )
    if state == "D":
        return (
            f"the main thread of pid {pid} is stuck in the kernel (state D, slow storage?): try"
            " again when it moves"
        )
    return (
        f"the main thread of pid {pid} reached no safe point in time{why}: it is inside native"
        " code; try again"
    )


def settled_state(pid: int) -> str:
    """Return the main thread's state; one that a signal stops runs for a moment when its tracer
    leaves it.
    """
    for _ in range(STATE_LOOKS):
        state = main_thread_state(pid)
        if state != "R":
            return state
        time.sleep(POLL_S)
    return state


def refuse_what_ptrace_cannot(pid: int) -> None:
    """Raise CannotEnter for the rare builds and machines where the calls would harm."""
    if os.uname().machine != "x86_64":
        raise CannotEnter(
            f"entering pid {pid} by ptrace works on x86-64 only: start it under `perfscope run`"
        )
    status = status_of(pid)
    if "shstk" in status.get("x86_Thread_features", ""):
        raise CannotEnter(
            f"pid {pid} runs with a shadow stack: start it with"
            " GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"
        )


def refuse_free_threaded(target: Target, runtime: int, version: int) -> None:
    """Raise CannotEnter for a Python without the GIL: other threads run while the main thread is
    stopped. Raises OSError.
    """
    if read_runtime_state(target.memory, runtime, version).is_free_threaded():
        advice = (
            "enter it while its main thread runs Python code"
            if version >= REMOTE_EXEC_SINCE
            else "use 3.14 or newer"
        )
        raise CannotEnter(
            f"pid {target.pid} is a free-threaded Python, which cannot be entered by ptrace:"
            f" {advice}, or start it under `perfscope run`"
        )


def target_functions(pid: int) -> dict[str, int]:
    """The address of each function that an entry needs. Raises CannotEnter naming the missing one,
    OSError.
    """
    python = (*injected_page.PYTHON_FUNCTIONS, "Py_AddPendingCall", "_PyRuntime")
    c_names = (*injected_page.C_FUNCTIONS, "mmap", "mprotect", "__errno_location")
    executable = python_files(pid)
    found = addresses(pid, executable, python)
    found |= addresses(pid, [*c_library_files(pid), *executable], c_names)
    missing = [name for name in (*python, *c_names) if name not in found]
    if missing:
        if main_thread_state(pid) in ("", "Z", "X"):
            raise ProcessGone
        advice = "start it under `perfscope run`"
        raise CannotEnter(
            f"pid {pid} is a static or stripped build without the symbol {missing[0]}: {advice}"
        )
    return {name: place[0] for name, place in found.items()}
