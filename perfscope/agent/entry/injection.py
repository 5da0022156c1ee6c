"""One entry into one process: what happens during its stops."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from perfscope.agent.entry import injected_page
from perfscope.agent.entry.idle_thread import RESTART_SYSCALL, ObservedWait
from perfscope.agent.entry.injected_page import InjectedPage, PageState
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.ptrace import ProcessGone
from perfscope.agent.entry.refusals import START, refused_by_kernel
from perfscope.agent.entry.remote_call import (
    CallFailed,
    CallSite,
    LeftRunning,
    StoppedThread,
    stop_thread,
)
from perfscope.agent.entry.runtime_state import MUTEX_SINCE, RuntimeState, read_runtime_state
from perfscope.agent.entry.shared_progress import EntryProgress
from perfscope.agent.entry.wait_time import waited_ns
from perfscope.errors import CannotEnter

CALL_NS = 100_000_000  # far more than the turn of another thread on a busy host
STOP_WITHIN_NS = 1_000_000_000  # after the deadline of the entry, to take back what was queued
READ_EXECUTE, PRIVATE = 5, 0x22
MAKE_READY, QUEUE = 0, 1
NOT_INJECTED = PageState(claimed=False, pending=False, failed=0, began=False)
HIGHEST_ADDRESS = (1 << 64) - 1
LOW_32 = 0xFFFFFFFF
STARTING_UP = "Python is starting up or shutting down there"


def no_memory(pid: int) -> CannotEnter:
    """Return the refusal for a process that cannot map the injected page."""
    return CannotEnter(
        f"pid {pid} cannot map executable memory: raise its memory limit (`ulimit -v`), or allow"
        " SELinux `execmem`"
    )


class NotIdleAnyMore(Exception):
    """The thread moved between the observation and the stop."""


@dataclass
class Injection:
    """One entry into one process, during one or more short stops of its main thread."""

    target: Target
    functions: dict[str, int]
    version: int
    page: InjectedPage
    site: CallSite
    progress: EntryProgress
    deadline_ns: int
    stops_ns: list[int] = field(default_factory=list)
    queued: bool = False
    runtime: RuntimeState = field(default_factory=lambda: RuntimeState(-1, b"", 0))

    @property
    def pid(self) -> int:
        """The pid of the process."""
        return self.target.pid

    @property
    def memory(self) -> int:
        """The memory of the process, open for reading and writing."""
        return self.target.memory

    @contextmanager
    def stopped(self) -> Iterator[StoppedThread]:
        """Stop the main thread, and let it continue at the end whatever happens.

        Raises CannotEnter if the kernel refuses.
        """
        until_ns = max(self.deadline_ns, time.monotonic_ns()) + STOP_WITHIN_NS
        self.progress.stop_began_ns = time.monotonic_ns()
        try:
            thread = stop_thread(self.pid, self.memory, until_ns)
        except OSError as refusal:
            if refusal.errno in (errno.EPERM, errno.EACCES):
                raise refused_by_kernel(self.pid) from None
            raise
        try:
            status = self.target.refuse_if_changed()  # a stopped process executes nothing
            thread.caught = int(status["SigCgt"], 16)
            if thread.in_restartable_sequence():
                raise CallFailed("in a restartable sequence")
            if thread.in_earlier_call(self.site):
                raise CallFailed("still in a call of an earlier entry")
            runtime = self.functions["_PyRuntime"]
            self.runtime = read_runtime_state(self.memory, runtime, self.version)
            self.check_main_thread(thread)
            yield thread
        finally:
            thread.restore_and_detach()
            self.progress.stop_began_ns = 0
            self.stops_ns.append(time.monotonic_ns() - thread.since_ns)

    def check_main_thread(self, thread: StoppedThread) -> None:
        """Check that the stopped thread is the one that runs pending calls.

        Raises CannotEnter if it is not, CallFailed if that is unknown.
        """
        runtime = self.runtime
        if runtime.has_another_main_thread(thread.saved.fs_base):
            raise CannotEnter(
                f"pid {self.pid} runs Python on a thread that is not its main thread: {START}"
            )
        if not runtime.knows_thread(thread.saved.fs_base):
            raise CallFailed(STARTING_UP)

    def may_hold_queue_lock(self) -> bool:
        """Return whether the stopped thread may itself hold the lock that queuing a call needs.

        Raises CallFailed if the lock is taken. It also does if the lock was not found and is a
        PyMutex (3.13 and newer), because a call that waits for one cannot be broken off.
        """
        locked = self.runtime.queue_is_locked()
        if locked:
            raise CallFailed("its queue of pending calls is in use")
        if locked is None and self.version >> 16 >= MUTEX_SINCE:
            raise CallFailed("the lock of its queue of pending calls was not found")
        return locked is None

    def page_state(self) -> PageState | None:
        """Return the state of the injected page, None once the source has run and it is freed."""
        try:
            image = os.pread(self.memory, injected_page.STATE.size, self.page.data)
        except OSError:
            return None
        if not image:
            raise ProcessGone
        return self.page.state(image)

    def call(
        self, thread: StoppedThread, address: int, *arguments: int, may_abandon: bool = False
    ) -> int:
        """Call a function on the stopped thread. Raises CallFailed, LeftRunning."""
        return thread.call(
            self.site, address, *arguments, limit_ns=CALL_NS, may_abandon=may_abandon
        )

    def call_arrive(self, thread: StoppedThread, how: int) -> None:
        """Call `arrive` in the injected page, which is mapped first if it is not yet.

        Raises CallFailed if it can be tried again, CannotEnter.
        """
        if not self.page.base:
            self.map_page(thread)
        may_abandon = how == QUEUE and self.may_hold_queue_lock()
        address, data = self.page.arrive_address, self.page.data
        answer = self.call(thread, address, data, how, may_abandon=may_abandon) & LOW_32
        if answer == injected_page.NO_MEMORY:
            self.unmap_page(thread)
            raise no_memory(self.pid)
        if answer == injected_page.NO_PYTHON:
            raise CallFailed(STARTING_UP)
        if answer == injected_page.QUEUE_FULL:
            raise CallFailed("its queue of pending calls is full")

    def map_page(self, thread: StoppedThread) -> None:
        """Map the code page and the data pages in one piece, and write them.

        `arrive` makes the data pages writable. No page is ever both writable and executable, which
        hardened systems forbid. Like a debugger's breakpoints, our writes ignore the protection.
        """
        mmap, length = self.functions["mmap"], self.page.length
        base = self.call(thread, mmap, 0, length, READ_EXECUTE, PRIVATE)
        if base > HIGHEST_ADDRESS - injected_page.PAGE_BYTES:
            raise no_memory(self.pid)
        thread.write(base, injected_page.CODE)
        self.page.base = base
        thread.write(self.page.data, self.page.data_image(self.functions))
        self.progress.base = base

    def unmap_page(self, thread: StoppedThread) -> None:
        """Unmap the injected page."""
        self.call(thread, self.functions["munmap"], self.page.base, self.page.length)

    def queue(self) -> None:
        """Queue a pending call, which the main thread runs at its next bytecode boundary.

        Raises CallFailed if it can be tried again.
        """
        with self.stopped() as thread:
            state = self.page_state() if self.page.base else NOT_INJECTED
            if state is None or state.claimed:
                return
            if not state.pending:
                try:
                    self.call_arrive(thread, QUEUE)
                except LeftRunning:
                    raise
                except CallFailed:
                    if self.page.base:
                        self.set_flag(thread, injected_page.PENDING_AT, False)
                    raise
            self.queued = True

    def start_directly(self, wait: ObservedWait) -> str:
        """Start the probe's thread by a call on the idle main thread; return the way it went.

        Raises NotIdleAnyMore, CallFailed.
        """
        before_ns, waited_before_ns = time.monotonic_ns(), waited_ns(self.pid)
        with self.stopped() as thread:
            call = thread.in_system_call
            if call is None or (call != wait.call and RESTART_SYSCALL not in (call, wait.call)):
                raise NotIdleAnyMore
            if thread.saved.rsp != wait.stack:
                raise NotIdleAnyMore
            thread.shorten_wait(self.site, waited_before_ns + thread.since_ns - before_ns)
            state = self.page_state() if self.page.base else NOT_INJECTED
            if state is None or state.claimed:
                return "pending-call"
            self.call_arrive(thread, MAKE_READY)
            # Nobody else can claim it now: a pending call would run on this very thread.
            failed = self.call(thread, self.page.start_address, self.page.data) & LOW_32
            if failed:
                self.set_flag(thread, injected_page.CLAIMED_AT, False)
                raise CallFailed(f"it cannot start a thread: {os.strerror(failed)}")
            return "idle-call"

    def set_flag(self, thread: StoppedThread, offset: int, value: bool) -> None:
        """Set a flag of the data page."""
        thread.write(self.page.data + offset, value.to_bytes(1, "little"))

    def withdraw(self) -> None:
        """Take back what has not run: unmap the page, or let the queued call only unmap it."""
        if not self.page.base:
            return
        with self.stopped() as thread:
            state = self.page_state()
            if state is None or (state.claimed and not state.failed):
                return
            if state.pending:
                self.set_flag(thread, injected_page.LEAVING_AT, True)
                return
            self.unmap_page(thread)
