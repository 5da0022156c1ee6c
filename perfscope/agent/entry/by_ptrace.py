"""Enters through ptrace: a pending call where the main thread runs, a direct call where it only waits."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from perfscope.agent.entry import landing, ptrace, stub
from perfscope.agent.entry.idle import RESTART_SYSCALL, IdleWatch, Wait
from perfscope.agent.entry.landing import Landing
from perfscope.agent.entry.refusals import gone, main_thread_state, own_pid, refused_by_kernel
from perfscope.agent.entry.remote_call import CallFailed, ProcessGone, StoppedThread, TimeUp, stop
from perfscope.agent.entry.symbols import addresses, c_library_files, python_files
from perfscope.errors import CannotEnter

QUICK_NS = 100_000_000  # for calls that take no lock or a short one; far above a scheduler's turn on a crowded host
THREAD_NS = 2_000_000_000  # pthread_create may wait for the allocator's lock
READ_WRITE, READ_EXECUTE = 3, 5
PRIVATE, PRIVATE_FIXED = 0x22, 0x32
RETRY_S = 0.05
POLL_S = 0.002


class NotIdleAnyMore(Exception):
    """Between the look and the stop the thread moved."""


@dataclass
class Visitor:
    """One entry into one process, over one or more short stops of its main thread."""

    pid: int
    functions: dict[str, int]
    memory: int
    landing: Landing
    stops_ns: list[int] = field(default_factory=list)
    queued: bool = False

    @contextmanager
    def stopped(self) -> Iterator[StoppedThread]:
        """The main thread stopped, and let go whatever happens. Raises CannotEnter where the kernel refuses."""
        began_ns = time.monotonic_ns()
        try:
            thread = stop(self.pid, self.memory)
        except OSError as refusal:
            if refusal.errno in (errno.EPERM, errno.EACCES):
                raise refused_by_kernel(self.pid) from None
            raise
        try:
            yield thread
        finally:
            thread.let_go()
            self.stops_ns.append(time.monotonic_ns() - began_ns)

    def state(self) -> landing.State | None:
        """What the target says of the entry; None when the source has run and the memory is given back."""
        try:
            return self.landing.state(os.pread(self.memory, landing.STATE.size, self.landing.data))
        except OSError:
            return None

    def lay(self, thread: StoppedThread) -> bool:
        """Make and fill the memory in the target; False while Python is still starting up there."""
        thread.keep_errno(self.functions["__errno_location"], QUICK_NS)
        if self.landing.base:
            return True
        if thread.call(self.functions["Py_IsInitialized"], limit_ns=QUICK_NS) & 0xFFFFFFFF == 0:
            return False
        length, page = self.landing.length, landing.PAGE_BYTES
        base = self.mapped(thread, 0, page, READ_EXECUTE, PRIVATE, reserve=length)
        self.landing.base = base
        thread.write(base, landing.CODE)
        thread.write(self.landing.data, self.landing.data_image(self.functions))
        return True

    def mapped(self, thread: StoppedThread, at: int, page: int, code: int, flags: int, reserve: int) -> int:
        """A code page, and data pages right behind it: never writable and executable at once, which hardened systems forbid."""
        mmap, nowhere = self.functions["mmap"], (1 << 64) - 1
        base = thread.call(mmap, at, reserve, code, flags, nowhere, 0, limit_ns=QUICK_NS)
        if base >= nowhere - 4095:
            raise CannotEnter(
                f"pid {self.pid} could not map memory: raise its memory limit (RLIMIT_AS or SELinux execmem)"
            )
        data = thread.call(mmap, base + page, reserve - page, READ_WRITE, PRIVATE_FIXED, nowhere, 0, limit_ns=QUICK_NS)
        if data != base + page:
            thread.call(self.functions["munmap"], base, reserve, limit_ns=QUICK_NS)
            raise CannotEnter(f"pid {self.pid} could not map memory: raise its memory limit (RLIMIT_AS)")
        return base

    def queue(self) -> None:
        """Leave a pending call; the main thread runs it at its next bytecode boundary."""
        with self.stopped() as thread:
            if not self.lay(thread) or self.queued:
                return
            thread.write(self.landing.data + landing.PENDING_AT, b"\x01")
            door, data = self.landing.pending_door, self.landing.data
            outcome = thread.call(self.functions["Py_AddPendingCall"], door, data, limit_ns=QUICK_NS)
            self.queued = outcome & 0xFFFFFFFF == 0
            if not self.queued:  # 32 calls are waiting already
                thread.write(self.landing.data + landing.PENDING_AT, b"\x00")

    def start_directly(self, wait: Wait) -> bool:
        """Start the thread on the idle main thread itself; True when it is started. Raises NotIdleAnyMore."""
        with self.stopped() as thread:
            call = thread.in_system_call
            if call is None or (call != wait.call and RESTART_SYSCALL not in (call, wait.call)):
                raise NotIdleAnyMore
            if thread.saved.rsp != wait.stack or not self.lay(thread):
                raise NotIdleAnyMore
            state = self.state()
            if state is None or state.claimed:
                return True
            data = self.landing.data
            # Nobody else can claim it now: the pending call runs on this very thread.
            thread.write(data + landing.CLAIMED_AT, b"\x01")
            create, door = self.functions["pthread_create"], self.landing.thread_door
            try:
                failed = thread.call(create, data + landing.THREAD_AT, 0, door, data, limit_ns=THREAD_NS) & 0xFFFFFFFF
            except CallFailed:
                failed = errno.EAGAIN
            if failed:
                thread.write(data + landing.CLAIMED_AT, b"\x00")
            return not failed

    def withdraw(self) -> None:
        """Take back what has not run: unmap, or have the queued call do nothing but unmap."""
        if not self.landing.base:
            return
        with self.stopped() as thread:
            state = self.state()
            if state is None or (state.claimed and not state.failed):
                return
            if state.pending:
                thread.write(self.landing.data + landing.LEAVING_AT, b"\x01")
                return
            thread.keep_errno(self.functions["__errno_location"], QUICK_NS)
            thread.call(self.functions["munmap"], self.landing.base, self.landing.length, limit_ns=QUICK_NS)


def enter_by_ptrace(pid: int, source: str, deadline_ns: int) -> tuple[str, int, int]:
    """(way, longest stop in ns, stops). Raises CannotEnter."""
    functions = target_functions(pid)
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    except PermissionError:
        raise refused_by_kernel(pid) from None
    except OSError:
        raise gone(pid) from None
    try:
        version = target_version(memory, functions)
        text = stub.text(source, own_pid(pid), version)
        visitor = Visitor(pid, functions, memory, Landing(text))
        way = visit(visitor, deadline_ns)
        return way, max(visitor.stops_ns), len(visitor.stops_ns)
    except (ProcessGone, ProcessLookupError, FileNotFoundError):
        raise gone(pid) from None
    finally:
        os.close(memory)


def visit(visitor: Visitor, deadline_ns: int) -> str:
    """Try, wait, try the other way, until the source has been handed over or the time is up."""
    watch = IdleWatch(visitor.pid)
    idle = watch.settle()
    why = ""
    while time.monotonic_ns() < deadline_ns:
        try:
            if idle is not None:
                if visitor.start_directly(idle):
                    return "idle-call"
            elif not visitor.queued:
                visitor.queue()
        except (NotIdleAnyMore, CallFailed, TimeUp) as reason:
            why = str(reason)
            time.sleep(RETRY_S)
        watch = IdleWatch(visitor.pid)
        idle = wait_for(visitor, watch, deadline_ns)
        if visitor.landing.base and landed(visitor):
            return "pending-call"
    visitor.withdraw()
    if landed(visitor):
        return "pending-call"
    raise CannotEnter(never_came(visitor.pid, why))


def wait_for(visitor: Visitor, watch: IdleWatch, deadline_ns: int) -> Wait | None:
    """Wait until the pending call has run or the thread is seen to be idle; the wait in the latter case."""
    while time.monotonic_ns() < deadline_ns and not (visitor.landing.base and landed(visitor)):
        watch.look()
        if watch.idle is not None or not visitor.queued:
            return watch.settle()
        time.sleep(POLL_S)
    return None


def landed(visitor: Visitor) -> bool:
    """Has the thread been started? Raises CannotEnter when the target could not start one, ProcessGone when it ended."""
    if not visitor.landing.base:
        return False
    state = visitor.state()
    if state is not None and state.claimed and state.failed:
        reason = os.strerror(state.failed)
        visitor.withdraw()
        raise CannotEnter(f"pid {visitor.pid} could not start a thread ({reason}): raise its pids or memory limit")
    if state is None and main_thread_state(visitor.pid) in ("", "Z", "X"):
        raise ProcessGone
    return state is None or state.claimed


def never_came(pid: int, why: str) -> str:
    """The line for a time that ran out, by what the main thread does."""
    if main_thread_state(pid) == "D":
        return f"the main thread of pid {pid} is stuck in the kernel (state D, slow storage?): try again when it moves"
    reason = f" ({why})" if why else ""
    return f"the main thread of pid {pid} reached no safe point in time{reason}: it is inside native code; try again"


def target_functions(pid: int) -> dict[str, int]:
    """The address of each function that an entry needs. Raises CannotEnter naming the one that is missing."""
    python = (*landing.PYTHON_FUNCTIONS, "Py_AddPendingCall")
    c_names = (*landing.C_FUNCTIONS, "mmap", "__errno_location")
    try:
        executable = python_files(pid)
        found = addresses(pid, executable, (*python, "Py_Version"))
        found |= addresses(pid, [*c_library_files(pid), *executable], c_names)
    except OSError:
        raise gone(pid) from None
    missing = [name for name in (*python, *c_names) if name not in found]
    if missing:
        advice = "start it under `perfscope run`"
        raise CannotEnter(f"pid {pid} is a static or stripped build without the symbol {missing[0]}: {advice}")
    return {name: place[0] for name, place in found.items()}


def target_version(memory: int, functions: dict[str, int]) -> int | None:
    """PY_VERSION_HEX of the target, None before 3.11, which does not say."""
    if "Py_Version" not in functions:
        return None
    return int.from_bytes(os.pread(memory, 4, functions["Py_Version"]), "little")


Way = Callable[[int, str, int], tuple[str, int, int]]
