"""Calls functions in one stopped thread of another process, and lets it go as it was.

Each call is made by `restoring_call`: where this tracer is killed, at whichever instruction, the
thread completes the call, restores itself and goes on. Nothing is changed that the code does not
restore: the memory is written first, then the registers are set by one request, and the signal mask
only while they are those of a call. A tracer that lives restores registers, vector state, signal
mask and an interrupted system call exactly.

Signals that come meanwhile stay in the kernel's queue: they are blocked.
"""

import ctypes
import os
import signal
import struct
import time
from dataclasses import dataclass

from perfscope.agent.entry import code_room, ptrace, restoring_call
from perfscope.agent.entry.interrupted_wait import (
    MILLISECONDS,
    RESTART_CODES,
    TIMESPEC_FORM,
    interrupted_call,
    resume_wait,
    shorten_limit,
)
from perfscope.agent.entry.ptrace import ProcessGone, Registers, Stop, TimeUp
from perfscope.agent.entry.restoring_call import RestoringCall

SYSCALL_FUTEX = 202
NO_SYSCALL = 0xFFFFFFFFFFFFFFFF
DIRECTION_FLAG, TRAP_FLAG = 0x400, 0x100
RESTART_SYSCALL = 219
RESTART_BLOCK, RESTART_UNLESS_HANDLED = -516, -514
RSEQ_CS = struct.Struct("<IIQQQ")
STACK_SEARCHED_BYTES = 32 << 10
# A blocked fault would lose the program's handler for it.
FAULTS = (
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
)
IGNORED_BY_DEFAULT = (signal.SIGURG, signal.SIGWINCH, signal.SIGCHLD)


class CallFailed(Exception):
    """The remote call broke off: it crashed, or waits for a lock that the stopped thread may
    hold.
    """


class LeftRunning(CallFailed):
    """The call takes long; it goes on without a tracer, and the thread restores itself
    afterwards.
    """


def signed(value: int) -> int:
    """Return the word as a signed number."""
    return ctypes.c_longlong(value).value


def bit(number: int) -> int:
    """Return the mask of one signal."""
    return 1 << (number - 1)


@dataclass(frozen=True)
class CallSite:
    """What calls need of their process: `room` is where `restoring_call` lies, `pid` the process as
    it sees itself.
    """

    room: int
    pid: int
    errno_location: int


def place_code(pid: int, memory: int, own_pid: int, errno_location: int) -> CallSite | None:
    """Put the code of the calls into the process, unless an earlier entry has; None where there is
    no room. Raises OSError.
    """
    size, code = restoring_call.SIZE, restoring_call.CODE
    for address, content in code_room.rooms(pid, memory, size):
        if content[restoring_call.ENTRY :] == code:
            return CallSite(address, own_pid, errno_location)
        if not any(content) and os.pwrite(memory, code, address + restoring_call.ENTRY) == len(
            code
        ):
            return CallSite(address, own_pid, errno_location)
    return None


@dataclass
class StoppedThread:
    """A thread that we trace and have stopped, since CLOCK_MONOTONIC `since_ns`; `let_go` must
    follow.

    caught: the signals that the program handles (a mask), to be known before a call.
    """

    tid: int
    memory: int
    saved: Registers
    mask: int
    at: Stop
    since_ns: int
    vectors: bytes = b""
    left_running: bool = False
    notifier: int = 0
    caught: int = 0
    ended_by_the_stop: bool = False

    @property
    def in_system_call(self) -> int | None:
        """The number of the system call that the stop interrupted; None when it had ended, or in
        user code.
        """
        return interrupted_call(self.saved)

    def call(
        self,
        site: CallSite,
        address: int,
        *arguments: int,
        limit_ns: int,
        may_abandon: bool = False,
    ) -> int:
        """Call the function at `address` and return rax, unsigned.

        may_abandon: whether a call that waits for a lock after `limit_ns` is broken off by
        restoring the thread: for a lock that the thread itself may hold. Raises CallFailed,
        LeftRunning, ProcessGone.
        """
        first = not self.vectors
        if first:
            self.vectors = ptrace.vector_state(self.tid)
            self.choose_notifier()
        wanted = self.registers_without_us()
        call = RestoringCall(
            function=address,
            arguments=tuple(argument & NO_SYSCALL for argument in arguments),
            return_to=wanted.rip,
            flags=self.saved.eflags,
            signal_mask=self.mask,
            waking=self.waking_signals(),
            xstate_bytes=len(self.vectors),
            errno_location=site.errno_location,
            pid=site.pid,
            signal=self.notifier,
        )
        self.write(site.room, call.head())
        wanted.rip = site.room + restoring_call.ENTRY
        wanted.rsp = restoring_call.stack_at_entry(self.saved.rsp)
        wanted.eflags &= ~(DIRECTION_FLAG | TRAP_FLAG)
        ptrace.set_registers(self.tid, wanted)
        # From here on the thread restores its mask itself.
        if first:
            ptrace.set_signal_mask(
                self.tid, NO_SYSCALL & ~sum(map(bit, FAULTS)) & ~self.notifier_bit
            )
        self.resume()
        return self.returned(site, time.monotonic_ns() + limit_ns, may_abandon)

    def registers_without_us(self) -> Registers:
        """Return the registers with which the program would go on: those of the stop, or at the
        restart of its system call.
        """
        wanted = ptrace.copy_of(self.saved)
        if self.will_restart():
            wanted.rip -= 2
            restart_block = signed(self.saved.rax) == RESTART_BLOCK
            wanted.rax = RESTART_SYSCALL if restart_block else self.saved.orig_rax
        wanted.orig_rax = NO_SYSCALL  # or the kernel would restart the system call here and now
        return wanted

    def will_restart(self) -> bool:
        """Return whether the kernel restarts the system call that the stop interrupted."""
        return self.in_system_call is not None and signed(self.saved.rax) in RESTART_CODES

    def waking_signals(self) -> int:
        """Return the mask of signals whose handlers end the interrupted wait with EINTR."""
        ends_with_any = signed(self.saved.rax) in (RESTART_BLOCK, RESTART_UNLESS_HANDLED)
        return self.caught & ~self.mask if ends_with_any and self.will_restart() else 0

    def choose_notifier(self) -> None:
        """Choose the signal that says that a call has returned: one that the program neither
        handles nor blocks, 0 if none.
        """
        used = self.caught | self.mask
        self.notifier = next(
            (int(number) for number in IGNORED_BY_DEFAULT if not used & bit(number)), 0
        )
        if not self.notifier:
            ptrace.mark_system_calls(self.tid)

    @property
    def notifier_bit(self) -> int:
        """The notifier's mask, 0 without one."""
        return bit(self.notifier) if self.notifier else 0

    def resume(self, number: int = 0) -> None:
        """Let the thread run on in its call; without a notifier, to its next system call."""
        if self.notifier:
            ptrace.resume(self.tid, number)
        else:
            ptrace.resume_to_system_call(self.tid, number)

    def returned(self, site: CallSite, until_ns: int, may_abandon: bool) -> int:
        """Wait for the call under way and return its result. Raises CallFailed, LeftRunning,
        ProcessGone.
        """
        end = site.room + restoring_call.RETURNED
        late = False
        while True:
            try:
                self.at = ptrace.wait(self.tid, NO_SYSCALL if late else until_ns)
            except TimeUp:
                ptrace.interrupt(self.tid)
                late = True
                continue
            now = ptrace.registers(self.tid)
            if self.at.event == ptrace.EVENT_STOP:
                if now.rip == end:
                    return int(now.rbx)
                if late:
                    self.give_up(now, may_abandon)
                self.resume()
            elif self.at.signal == signal.SIGTRAP | ptrace.SYSCALL_STOP:
                if now.rip == end:
                    # A stop at a system call is no place to set registers; this one follows at
                    # once.
                    ptrace.interrupt(self.tid)
                    ptrace.resume(self.tid)
                else:
                    self.resume()
            elif self.at.signal == self.notifier:
                if now.rip == end:
                    return int(now.rbx)
                self.resume()  # somebody else's, and ignored by the program
            else:
                self.postpone_signal(now)

    def give_up(self, now: Registers, may_abandon: bool) -> None:
        """Raise CallFailed for a call that takes too long: leave it to itself, or break it off
        where it waits for a lock.
        """
        waits = signed(now.orig_rax) == SYSCALL_FUTEX and signed(now.rax) in RESTART_CODES
        if waits and may_abandon:
            slot = restoring_call.return_slot(self.saved.rsp, len(self.vectors))
            self.write(slot, bytes(8))
            raise CallFailed("waits for a lock")
        self.left_running = True
        raise LeftRunning("a call takes long")

    def postpone_signal(self, now: Registers) -> None:
        """Leave the signal that the thread is stopped for to the time after the call. Raises
        CallFailed for a real fault.
        """
        number = self.at.signal
        if number in FAULTS and self.is_fault():
            raise CallFailed(f"crashed at {now.rip:#x}")
        if number != signal.SIGSTOP:
            # The kernel queues a blocked signal again, with what it carries.
            ptrace.set_signal_mask(self.tid, ptrace.signal_mask(self.tid) | bit(number))
        self.resume(number)

    def is_fault(self) -> bool:
        """Did the kernel raise the signal for what the thread did, and not another process by
        kill()?
        """
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
        """Put everything back and end the tracing; the signals that came meanwhile are delivered
        now.
        """
        if not self.left_running:
            # In this order: until the registers are set, the thread restores the rest itself.
            if self.vectors:
                ptrace.set_signal_mask(self.tid, self.mask)
                ptrace.set_vector_state(self.tid, self.vectors)
            ptrace.set_registers(self.tid, self.saved)
        ptrace.detach(self.tid)

    def shorten_wait(self, site: CallSite, waited_ns: int) -> None:
        """Have an interrupted wait that starts over, with its time limit, end when it would have.

        waited_ns: how long it has waited, in nanoseconds.
        """
        shortened = (
            shorten_limit(self.saved, waited_ns, self.read) if self.ended_by_the_stop else None
        )
        if shortened is None:
            return
        register, left_ns = shortened
        if self.saved.orig_rax in MILLISECONDS:
            setattr(self.saved, register, -(-left_ns // 1_000_000))
        else:
            place = site.room + restoring_call.TIME_LIMIT
            self.write(place, TIMESPEC_FORM.pack(*divmod(left_ns, 1_000_000_000)))
            setattr(self.saved, register, place)

    def in_earlier_call(self, site: CallSite) -> bool:
        """Return whether an earlier call, whose tracer was killed or let it run, is still under way
        on this thread.
        """
        first, last = site.room, site.room + restoring_call.SIZE
        if first <= self.saved.rip < last:
            return True
        stack = os.pread(self.memory, STACK_SEARCHED_BYTES, self.saved.rsp)
        shared = first.to_bytes(8, "little")[2:]
        at = stack.find(shared)
        while at >= 0:
            if at % 8 == 2 and first <= int.from_bytes(stack[at - 2 : at + 6], "little") < last:
                return True
            at = stack.find(shared, at + 1)
        return False

    def in_restartable_sequence(self) -> bool:
        """Is it inside a restartable sequence (rseq)? Those must be aborted when left, which a
        tracer cannot do.
        """
        area = ptrace.rseq_area(self.tid)
        if not area:
            return False
        descriptor = int.from_bytes(self.read(area + 8, 8), "little")
        if not descriptor:
            return False
        _version, _flags, start, length, _abort = RSEQ_CS.unpack(
            self.read(descriptor, RSEQ_CS.size)
        )
        return bool(start <= self.saved.rip < start + length)


def stop(tid: int, memory: int, until_ns: int) -> StoppedThread:
    """Seize and stop the thread. Raises OSError where that is not allowed, TimeUp after
    CLOCK_MONOTONIC `until_ns` (then it stays ours until this thread of ours ends), ProcessGone.
    """
    ptrace.seize(tid)
    ptrace.interrupt(tid)
    at = ptrace.wait(tid, until_ns)
    while at.event != ptrace.EVENT_STOP:
        # A signal was quicker: it is delivered as it would have been, the stop we asked for
        # follows.
        ptrace.resume(tid, at.signal)
        at = ptrace.wait(tid, until_ns)
    # Counted from here: until it reached its stop the thread ran, or waited for a core as it would
    # have without us.
    since_ns = time.monotonic_ns()
    saved = ptrace.registers(tid)
    ended = resume_wait(saved)
    return StoppedThread(
        tid, memory, saved, ptrace.signal_mask(tid), at, since_ns, ended_by_the_stop=ended
    )
