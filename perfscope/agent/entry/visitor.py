"""One entry into one process: what is done during its stops."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from perfscope.agent.entry import landing
from perfscope.agent.entry.idle import RESTART_SYSCALL, Wait
from perfscope.agent.entry.landing import Landing, State
from perfscope.agent.entry.ptrace import ProcessGone
from perfscope.agent.entry.refusals import refused_by_kernel
from perfscope.agent.entry.remote_call import CallFailed, StoppedThread, stop
from perfscope.errors import CannotEnter

QUICK_NS = 100_000_000  # for calls that take no lock or a short one; far above a scheduler's turn on a crowded host
THREAD_NS = 2_000_000_000  # pthread_create may wait for the allocator's lock
STOP_WITHIN_NS = 1_000_000_000  # beyond the deadline of the entry, to take back what was queued
READ_WRITE, READ_EXECUTE = 3, 5
PRIVATE, PRIVATE_FIXED = 0x22, 0x32
NOWHERE = (1 << 64) - 1
YES, NO = b"\x01", b"\x00"


class NotIdleAnyMore(Exception):
    """Between the look and the stop the thread moved."""


@dataclass
class Visitor:
    """One entry into one process, over one or more short stops of its main thread."""

    pid: int
    functions: dict[str, int]
    memory: int
    landing: Landing
    deadline_ns: int
    stops_ns: list[int] = field(default_factory=list)
    queued: bool = False

    @contextmanager
    def stopped(self) -> Iterator[StoppedThread]:
        """The main thread stopped, and let go whatever happens. Raises CannotEnter where the kernel refuses."""
        began_ns = time.monotonic_ns()
        try:
            thread = stop(self.pid, self.memory, max(self.deadline_ns, began_ns) + STOP_WITHIN_NS)
        except OSError as refusal:
            if refusal.errno in (errno.EPERM, errno.EACCES):
                raise refused_by_kernel(self.pid) from None
            raise
        try:
            if thread.in_restartable_sequence():
                raise CallFailed("in a restartable sequence")
            yield thread
        finally:
            thread.let_go()
            self.stops_ns.append(time.monotonic_ns() - began_ns)

    def state(self) -> State | None:
        """What the target says of the entry; None when the source has run and the memory is given back."""
        try:
            image = os.pread(self.memory, landing.STATE.size, self.landing.data)
        except OSError:
            return None
        if not image:
            raise ProcessGone
        return self.landing.state(image)

    def lay(self, thread: StoppedThread) -> None:
        """Make and fill the memory in the target, once."""
        thread.keep_errno(self.functions["__errno_location"], QUICK_NS)
        if self.landing.base:
            return
        if thread.call(self.functions["Py_IsInitialized"], limit_ns=QUICK_NS) & 0xFFFFFFFF == 0:
            raise CallFailed("Python is starting up or shutting down there")
        self.landing.base = self.mapped(thread)
        thread.write(self.landing.base, landing.CODE)
        thread.write(self.landing.data, self.landing.data_image(self.functions))

    def mapped(self, thread: StoppedThread) -> int:
        """A code page and the data pages behind it; never writable and executable at once, which hardened systems forbid."""
        mmap, length, page = self.functions["mmap"], self.landing.length, landing.PAGE_BYTES
        base = thread.call(mmap, 0, length, READ_EXECUTE, PRIVATE, NOWHERE, 0, limit_ns=QUICK_NS)
        if base > NOWHERE - page:
            raise CannotEnter(
                f"pid {self.pid} may map no executable memory: raise its memory limit, or SELinux `execmem`"
            )
        fixed = (base + page, length - page, READ_WRITE, PRIVATE_FIXED, NOWHERE, 0)
        if thread.call(mmap, *fixed, limit_ns=QUICK_NS) != base + page:
            thread.call(self.functions["munmap"], base, length, limit_ns=QUICK_NS)
            raise CannotEnter(f"pid {self.pid} may map no more memory: raise its memory limit (`ulimit -v`)")
        return base

    def queue(self) -> None:
        """Leave a pending call; the main thread runs it at its next bytecode boundary. Raises CallFailed to try again."""
        with self.stopped() as thread:
            self.lay(thread)
            state = self.state()
            if state is None or state.pending or state.claimed:
                return
            add, door, data = self.functions["Py_AddPendingCall"], self.landing.pending_door, self.landing.data
            thread.write(data + landing.PENDING_AT, YES)
            try:
                if thread.call(add, door, data, limit_ns=QUICK_NS) & 0xFFFFFFFF:
                    raise CallFailed("its queue of pending calls is full")
            except CallFailed:
                thread.write(data + landing.PENDING_AT, NO)
                raise
            self.queued = True

    def start_directly(self, wait: Wait) -> str:
        """Start the thread on the idle main thread itself; the way that it went. Raises NotIdleAnyMore, CallFailed."""
        with self.stopped() as thread:
            call = thread.in_system_call
            if call is None or (call != wait.call and RESTART_SYSCALL not in (call, wait.call)):
                raise NotIdleAnyMore
            if thread.saved.rsp != wait.stack:
                raise NotIdleAnyMore
            self.lay(thread)
            state = self.state()
            if state is None or state.claimed:
                return "pending-call"
            data, door = self.landing.data, self.landing.thread_door
            # Nobody else can claim it now: the pending call runs on this very thread.
            thread.write(data + landing.CLAIMED_AT, YES)
            thread.block_signals(landing.THREAD_MASK)  # the new thread inherits it
            create = (self.functions["pthread_create"], data + landing.THREAD_AT, 0, door, data)
            try:
                failed = thread.call(*create, limit_ns=THREAD_NS) & 0xFFFFFFFF
            except CallFailed:
                thread.write(data + landing.CLAIMED_AT, NO)
                raise
            if failed:
                thread.write(data + landing.CLAIMED_AT, NO)
                raise CallFailed(f"it can start no thread: {os.strerror(failed)}")
            return "idle-call"

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
