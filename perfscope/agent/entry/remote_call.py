"""Calls functions in one stopped thread of another process, and lets it go as it was.

Each call returns to address 0, which ends it in a SIGSEGV stop that is swallowed. Everything the thread would miss is kept
and put back: registers, vector state, signal mask, an interrupted system call, and signals that came meanwhile.
"""

import ctypes
import os
import signal
import struct
import time
from dataclasses import dataclass, field

from perfscope.agent.entry import ptrace
from perfscope.agent.entry.ptrace import ProcessGone, Registers, Stop, TimeUp

RED_ZONE_BYTES = 128
SYSCALL_FUTEX = 202
EINTR = 4
RESTART_CODES = {-512, -513, -514, -516}  # ERESTARTSYS, -NOINTR, -NOHAND, -RESTARTBLOCK: only a tracer sees them
RESTART_UNLESS_HANDLED = -514
NO_SYSCALL = 0xFFFFFFFFFFFFFFFF
DIRECTION_FLAG, TRAP_FLAG = 0x400, 0x100
RSEQ_CS = struct.Struct("<IIQQQ")
GRACE_NS = 2_000_000_000
# System calls that the kernel ends with EINTR at any stop, with the register and value that mean "no time limit".
ENDED_BY_A_STOP = {232: ("r10", 0xFFFFFFFF), 281: ("r10", 0xFFFFFFFF), 441: ("r10", 0), 128: ("rdx", 0)}


class CallFailed(Exception):
    """The remote call broke off: it crashed, or waits for a lock that the stopped thread may hold."""


def signed(value: int) -> int:
    return ctypes.c_longlong(value).value


@dataclass
class StoppedThread:
    """A thread that we trace and have stopped, since CLOCK_MONOTONIC `since_ns`; `let_go` must follow."""

    tid: int
    memory: int
    saved: Registers
    vectors: bytes
    mask: int
    at: Stop
    since_ns: int
    held: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def in_system_call(self) -> int | None:
        """The number of the system call that the stop interrupted; None when it had ended, or in user code."""
        number, result = signed(self.saved.orig_rax), signed(self.saved.rax)
        interrupted = result in RESTART_CODES or (result == -EINTR and number in ENDED_BY_A_STOP)
        return number if number >= 0 and interrupted else None

    def call(self, address: int, *arguments: int, limit_ns: int) -> int:
        """Call the function at `address` and return rax, unsigned. Raises CallFailed, ProcessGone."""
        wanted = ptrace.copy_of(self.saved)
        stack = (self.saved.rsp - RED_ZONE_BYTES) // 16 * 16 - 8
        self.write(stack, bytes(8))
        wanted.rsp, wanted.rip, wanted.rax = stack, address, 0
        wanted.orig_rax = NO_SYSCALL  # or the kernel would restart the interrupted system call here
        wanted.eflags &= ~(DIRECTION_FLAG | TRAP_FLAG)
        for name, value in zip(("rdi", "rsi", "rdx", "rcx", "r8", "r9"), arguments, strict=False):
            setattr(wanted, name, value & NO_SYSCALL)
        ptrace.set_registers(self.tid, wanted)
        ptrace.resume(self.tid)
        return self.returned(time.monotonic_ns() + limit_ns)

    def returned(self, until_ns: int) -> int:
        """Wait for the call under way. After the limit it is given up only where it waits for a lock: anywhere else it may
        hold one, and its registers must not be taken away."""
        asked = False
        while True:
            try:
                self.at = ptrace.wait(self.tid, until_ns)
            except TimeUp:
                if not asked:
                    ptrace.interrupt(self.tid)
                asked, until_ns = True, time.monotonic_ns() + GRACE_NS
                continue
            now = ptrace.registers(self.tid)
            if self.at.event == ptrace.EVENT_STOP:
                if asked and signed(now.orig_rax) == SYSCALL_FUTEX and signed(now.rax) in RESTART_CODES:
                    raise CallFailed("waits for a lock")
                if asked:
                    asked, until_ns = False, time.monotonic_ns() + GRACE_NS
                ptrace.resume(self.tid)
            elif self.at.signal == signal.SIGSEGV and self.is_fault():
                if now.rip == 0:
                    return int(now.rax)
                raise CallFailed(f"crashed at {now.rip:#x}")
            else:
                self.held.append((self.at.signal, ptrace.signal_info(self.tid)))
                ptrace.resume(self.tid)

    def block_signals(self, mask: int) -> None:
        """Block the signals of `mask` until `let_go`; those that come wait in the kernel."""
        ptrace.set_signal_mask(self.tid, mask)

    def is_fault(self) -> bool:
        """Did the kernel raise the signal for what the thread did, and not another process by kill()?"""
        return bool(struct.unpack_from("i", ptrace.signal_info(self.tid), 8)[0] > 0)

    def read(self, address: int, size: int) -> bytes:
        found = os.pread(self.memory, size, address)
        if len(found) != size:
            raise ProcessGone
        return found

    def write(self, address: int, content: bytes) -> None:
        while content:
            written = os.pwrite(self.memory, content, address)
            if not written:
                raise ProcessGone
            address, content = address + written, content[written:]

    def let_go(self) -> None:
        """Put everything back and end the tracing; the signals that came meanwhile are delivered now."""
        ptrace.set_vector_state(self.tid, self.vectors)
        ptrace.set_registers(self.tid, self.saved)
        ptrace.set_signal_mask(self.tid, self.mask)
        first = 0
        if self.held and self.at.event == 0:
            first, info = self.held.pop(0)
            ptrace.set_signal_info(self.tid, info)
        for number, _ in self.held:
            ptrace.send(self.tid, number)
        ptrace.detach(self.tid, first)

    def in_restartable_sequence(self) -> bool:
        """Is it inside a restartable sequence (rseq)? Those must be aborted when left, which a tracer cannot do."""
        area = ptrace.rseq_area(self.tid)
        if not area:
            return False
        descriptor = int.from_bytes(self.read(area + 8, 8), "little")
        if not descriptor:
            return False
        _version, _flags, start, length, _abort = RSEQ_CS.unpack(self.read(descriptor, RSEQ_CS.size))
        return bool(start <= self.saved.rip < start + length)


def stop(tid: int, memory: int, until_ns: int) -> StoppedThread:
    """Seize and stop the thread. Raises OSError where that is not allowed, TimeUp after CLOCK_MONOTONIC `until_ns`
    (then it stays ours until this thread of ours ends), ProcessGone."""
    ptrace.seize(tid)
    ptrace.interrupt(tid)
    at = ptrace.wait(tid, until_ns)
    while at.event != ptrace.EVENT_STOP:
        # A signal was quicker: it is delivered as it would have been, the stop we asked for follows.
        ptrace.resume(tid, at.signal)
        at = ptrace.wait(tid, until_ns)
    # Counted from here: until it reached its stop the thread ran, or waited for a core as it would have without us.
    since_ns = time.monotonic_ns()
    saved = ptrace.registers(tid)
    resume_wait(saved)
    mask = ptrace.signal_mask(tid)
    segv = 1 << (signal.SIGSEGV - 1)
    if mask & segv:
        # A fault with SIGSEGV blocked would make the kernel reset its handler.
        ptrace.set_signal_mask(tid, mask & ~segv)
    return StoppedThread(tid, memory, saved, ptrace.vector_state(tid), mask, at, since_ns)


def resume_wait(saved: Registers) -> None:
    """A stop ends epoll_wait and sigwait with EINTR; without a time limit they can be restarted as if nothing had been.

    The code chosen makes it EINTR all the same when a handler runs, which is what a signal would have done.
    """
    limit = ENDED_BY_A_STOP.get(saved.orig_rax)
    if limit is None or signed(saved.rax) != -EINTR:
        return
    name, unlimited = limit
    value = getattr(saved, name) & (0xFFFFFFFF if unlimited else NO_SYSCALL)
    if value == unlimited:
        saved.rax = RESTART_UNLESS_HANDLED & NO_SYSCALL
