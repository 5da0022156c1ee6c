"""One entry into one process: what is done during its stops."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from perfscope.agent.entry import injected_page
from perfscope.agent.entry.idle import RESTART_SYSCALL, Wait
from perfscope.agent.entry.injected_page import Landing, State
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.progress import EntryProgress
from perfscope.agent.entry.ptrace import ProcessGone
from perfscope.agent.entry.refusals import refused_by_kernel
from perfscope.agent.entry.remote_call import CallFailed, CallSite, LeftRunning, StoppedThread, stop
from perfscope.agent.entry.runtime_state import MUTEX_SINCE, RuntimeState, read_runtime_state
from perfscope.agent.entry.wait_time import waited_ns
from perfscope.errors import CannotEnter

CALL_NS = 100_000_000  # far above a scheduler's turn on a crowded host
STOP_WITHIN_NS = 1_000_000_000  # beyond the deadline of the entry, to take back what was queued
READ_EXECUTE, PRIVATE = 5, 0x22
MAKE_READY, QUEUE = 0, 1
NOTHING_YET = State(claimed=False, pending=False, failed=0, began=False)
NOWHERE = (1 << 64) - 1


def no_memory(pid: int) -> str:
    return (
        f"pid {pid} may map no executable memory: raise its memory limit (`ulimit -v`), or allow"
        " SELinux `execmem`"
    )


class NotIdleAnyMore(Exception):
    """Between the look and the stop the thread moved."""


@dataclass
class Visitor:
    """One entry into one process, over one or more short stops of its main thread."""

    target: Target
    functions: dict[str, int]
    version: int
    landing: Landing
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
        """Its memory, open for reading and writing."""
        return self.target.memory

    @contextmanager
    def stopped(self) -> Iterator[StoppedThread]:
        """The main thread stopped, and let go whatever happens. Raises CannotEnter where the kernel
        refuses.
        """
        until_ns = max(self.deadline_ns, time.monotonic_ns()) + STOP_WITHIN_NS
        self.progress.visit = time.monotonic_ns()
        try:
            thread = stop(self.pid, self.memory, until_ns)
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
            self.runtime = read_runtime_state(
                self.memory, self.functions["_PyRuntime"], self.version
            )
            self.check_main_thread(thread)
            yield thread
        finally:
            thread.let_go()
            self.progress.visit = 0
            self.stops_ns.append(time.monotonic_ns() - thread.since_ns)

    def check_main_thread(self, thread: StoppedThread) -> None:
        """Raise CannotEnter where the stopped thread is not the one that runs pending calls,
        CallFailed where that is open.
        """
        runtime = self.runtime
        if runtime.has_another_main_thread(thread.saved.fs_base):
            raise CannotEnter(
                f"pid {self.pid} runs Python on a thread that is not its main thread: start it"
                " under `perfscope run`"
            )
        if not runtime.knows_thread(thread.saved.fs_base):
            raise CallFailed("Python is starting up or shutting down there")

    def lock_may_be_ours(self) -> bool:
        """Return whether the stopped thread may itself hold the lock that queuing a call needs, as
        far as that is known.

        Raises CallFailed where the lock is taken, or must not be waited for unseen: a waiter of a
        PyMutex (3.13 and newer) cannot be taken away.
        """
        locked = self.runtime.queue_is_locked()
        if locked:
            raise CallFailed("its queue of pending calls is in use")
        if locked is None and self.version >> 16 >= MUTEX_SINCE:
            raise CallFailed("the lock of its queue of pending calls was not found")
        return locked is None

    def state(self) -> State | None:
        """What the target says of the entry; None when the source has run and the memory is given
        back.
        """
        try:
            image = os.pread(self.memory, injected_page.STATE.size, self.landing.data)
        except OSError:
            return None
        if not image:
            raise ProcessGone
        return self.landing.state(image)

    def call(
        self, thread: StoppedThread, address: int, *arguments: int, may_abandon: bool = False
    ) -> int:
        """Call a function on the stopped thread. Raises CallFailed, LeftRunning."""
        return thread.call(
            self.site, address, *arguments, limit_ns=CALL_NS, may_abandon=may_abandon
        )

    def arrive(self, thread: StoppedThread, how: int) -> None:
        """Lay the memory, once, and call `arrive` in it. Raises CallFailed to try again,
        CannotEnter.
        """
        if not self.landing.base:
            self.map(thread)
        may_abandon = how == QUEUE and self.lock_may_be_ours()
        answer = self.call(
            thread, self.landing.arrive_door, self.landing.data, how, may_abandon=may_abandon
        )
        answer &= 0xFFFFFFFF
        if answer == injected_page.NO_MEMORY:
            self.unmap(thread)
            raise CannotEnter(no_memory(self.pid))
        if answer == injected_page.NO_PYTHON:
            raise CallFailed("Python is starting up or shutting down there")
        if answer == injected_page.QUEUE_FULL:
            raise CallFailed("its queue of pending calls is full")

    def map(self, thread: StoppedThread) -> None:
        """Code page and data pages in one piece; `arrive` makes the latter writable, never both at
        once, which hardened systems forbid. What we write goes past the protection, as a debugger's
        breakpoints do.
        """
        base = self.call(
            thread, self.functions["mmap"], 0, self.landing.length, READ_EXECUTE, PRIVATE
        )
        if base > NOWHERE - injected_page.PAGE_BYTES:
            raise CannotEnter(no_memory(self.pid))
        thread.write(base, injected_page.CODE)
        self.landing.base = base
        thread.write(self.landing.data, self.landing.data_image(self.functions))
        self.progress.base = base

    def unmap(self, thread: StoppedThread) -> None:
        """Give the memory back."""
        self.call(thread, self.functions["munmap"], self.landing.base, self.landing.length)

    def queue(self) -> None:
        """Leave a pending call; the main thread runs it at its next bytecode boundary. Raises
        CallFailed to try again.
        """
        with self.stopped() as thread:
            state = self.state() if self.landing.base else NOTHING_YET
            if state is None or state.claimed:
                return
            if not state.pending:
                try:
                    self.arrive(thread, QUEUE)
                except LeftRunning:
                    raise
                except CallFailed:
                    if self.landing.base:
                        self.set_flag(thread, injected_page.PENDING_AT, False)
                    raise
            self.queued = True

    def start_directly(self, wait: Wait) -> str:
        """Start the thread on the idle main thread itself; the way that it went. Raises
        NotIdleAnyMore, CallFailed.
        """
        before_ns, waited_before_ns = time.monotonic_ns(), waited_ns(self.pid)
        with self.stopped() as thread:
            call = thread.in_system_call
            if call is None or (call != wait.call and RESTART_SYSCALL not in (call, wait.call)):
                raise NotIdleAnyMore
            if thread.saved.rsp != wait.stack:
                raise NotIdleAnyMore
            thread.shorten_wait(self.site, waited_before_ns + thread.since_ns - before_ns)
            state = self.state() if self.landing.base else NOTHING_YET
            if state is None or state.claimed:
                return "pending-call"
            self.arrive(thread, MAKE_READY)
            # Nobody else can claim it now: the pending call runs on this very thread.
            failed = self.call(thread, self.landing.start_door, self.landing.data) & 0xFFFFFFFF
            if failed:
                self.set_flag(thread, injected_page.CLAIMED_AT, False)
                raise CallFailed(f"it can start no thread: {os.strerror(failed)}")
            return "idle-call"

    def set_flag(self, thread: StoppedThread, at: int, value: bool) -> None:
        thread.write(self.landing.data + at, value.to_bytes(1, "little"))

    def withdraw(self) -> None:
        """Take back what has not run: unmap, or have the queued call do nothing but unmap."""
        if not self.landing.base:
            return
        with self.stopped() as thread:
            state = self.state()
            if state is None or (state.claimed and not state.failed):
                return
            if state.pending:
                self.set_flag(thread, injected_page.LEAVING_AT, True)
                return
            self.unmap(thread)
