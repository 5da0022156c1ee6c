"""Calls functions in one stopped thread of another process, and then restores the thread.

Each call is made by `restoring_call`: if this tracer is killed, at whichever instruction, the
thread completes the call, restores itself and continues. Nothing is changed that this code does not
restore: the memory is written first, then the registers are set by one request, and the signal mask
only while the registers are those of a call. If the tracer is alive, it restores registers, vector
state, signal mask and an interrupted system call exactly.

Signals are blocked during a call, and stay in the kernel's queue.
"""

import os
import signal
import struct
import time
from dataclasses import dataclass

from perfscope.agent.entry import ptrace, restoring_call, unused_code
from perfscope.agent.entry.interrupted_wait import (
    MILLISECONDS,
    RESTART_CODES,
    TIMESPEC_FORM,
    interrupted_call,
    resume_wait,
    shorten_limit,
    signed_number,
)
from perfscope.agent.entry.ptrace import ProcessGone, Registers, Stop, TimeUp
from perfscope.agent.entry.restoring_call import RestoringCall

SYSCALL_FUTEX = 202
NO_SYSCALL = ALL_SIGNALS = NO_LIMIT = 0xFFFFFFFFFFFFFFFF
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
    """The call failed: it crashed, or waits for a lock that the stopped thread may hold."""


class LeftRunning(CallFailed):
    """The call takes long. It continues without a tracer, and the thread then restores itself."""


def signal_bit(number: int) -> int:
    """Return the mask of one signal."""
    return 1 << (number - 1)


@dataclass(frozen=True)
class CallSite:
    """What a call needs: the address of `restoring_call`, and the pid as the process sees it."""

    code: int
    pid: int
    errno_location: int


def place_code(pid: int, memory: int, innermost_pid: int, errno_location: int) -> CallSite | None:
    """Write the code of the calls into the process, unless an earlier entry has.

    Returns None if there is no unused space. Raises OSError.
    """
    code, begin = restoring_call.CODE, restoring_call.ENTRY
    for address, content in unused_code.unused_ends(pid, memory, restoring_call.SIZE):
        if content[begin:] == code:
            return CallSite(address, innermost_pid, errno_location)
        if not any(content) and os.pwrite(memory, code, address + begin) == len(code):
            return CallSite(address, innermost_pid, errno_location)
    return None


@dataclass
class StoppedThread:
    """A traced thread, stopped since CLOCK_MONOTONIC `since_ns`; `restore_and_detach` must follow.

    caught: mask of the signals that the program handles, to be set before a call.
    """

    tid: int
    memory: int
    saved: Registers
    mask: int
    stop: Stop
    since_ns: int
    vectors: bytes = b""
    left_running: bool = False
    notifier: int = 0
    caught: int = 0
    ended_by_the_stop: bool = False

    @property
    def in_system_call(self) -> int | None:
        """The number of the system call that the stop interrupted, None if there was none."""
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

        may_abandon: whether to break off a call that still waits for a lock after `limit_ns`, by
        restoring the thread. This is for a lock that the thread itself may hold. Raises CallFailed,
        LeftRunning, ProcessGone.
        """
        first = not self.vectors
        if first:
            self.vectors = ptrace.vector_state(self.tid)
            self.choose_notifier()
        wanted = self.undisturbed_registers()
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
        self.write(site.code, call.head())
        wanted.rip = site.code + restoring_call.ENTRY
        wanted.rsp = restoring_call.stack_at_entry(self.saved.rsp)
        wanted.eflags &= ~(DIRECTION_FLAG | TRAP_FLAG)
        ptrace.set_registers(self.tid, wanted)
        # From here on the thread restores its mask itself.
        if first:
            not_blocked = sum(map(signal_bit, FAULTS)) | self.notifier_bit
            ptrace.set_signal_mask(self.tid, ALL_SIGNALS & ~not_blocked)
        self.resume()
        return self.wait_for_return(site, time.monotonic_ns() + limit_ns, may_abandon)

    def undisturbed_registers(self) -> Registers:
        """Return the registers with which the program would continue without us.

        They are those of the stop, or of the restart of its system call.
        """
        wanted = ptrace.copy_registers(self.saved)
        if self.will_restart():
            wanted.rip -= 2
            restart_block = signed_number(self.saved.rax) == RESTART_BLOCK
            wanted.rax = RESTART_SYSCALL if restart_block else self.saved.orig_rax
        wanted.orig_rax = NO_SYSCALL  # else the kernel would restart the system call at once
        return wanted

    def will_restart(self) -> bool:
        """Return whether the kernel restarts the system call that the stop interrupted."""
        return self.in_system_call is not None and signed_number(self.saved.rax) in RESTART_CODES

    def waking_signals(self) -> int:
        """Return the mask of signals whose handlers end the interrupted wait with EINTR."""
        ends_by_handler = signed_number(self.saved.rax) in (RESTART_BLOCK, RESTART_UNLESS_HANDLED)
        return self.caught & ~self.mask if ends_by_handler and self.will_restart() else 0

    def choose_notifier(self) -> None:
        """Choose the signal that reports the return of a call, 0 if none is possible.

        The program must neither handle nor block it.
        """
        used = self.caught | self.mask
        unused = [int(number) for number in IGNORED_BY_DEFAULT if not used & signal_bit(number)]
        self.notifier = unused[0] if unused else 0
        if not self.notifier:
            ptrace.mark_system_calls(self.tid)

    @property
    def notifier_bit(self) -> int:
        """The notifier's mask, 0 without one."""
        return signal_bit(self.notifier) if self.notifier else 0

    def resume(self, number: int = 0) -> None:
        """Let the call continue; without a notifier, to its next system call."""
        if self.notifier:
            ptrace.resume(self.tid, number)
        else:
            ptrace.resume_to_system_call(self.tid, number)

    def wait_for_return(self, site: CallSite, until_ns: int, may_abandon: bool) -> int:
        """Wait for the end of the current call and return its result.

        Raises CallFailed, LeftRunning, ProcessGone.
        """
        end = site.code + restoring_call.RETURNED
        late = False
        while True:
            try:
                self.stop = ptrace.wait(self.tid, NO_LIMIT if late else until_ns)
            except TimeUp:
                ptrace.interrupt_thread(self.tid)
                late = True
                continue
            now = ptrace.registers(self.tid)
            if late and self.stop.event != ptrace.EVENT_STOP:
                ptrace.interrupt_thread(self.tid)  # a stop for a signal can cancel the request
            if self.stop.event == ptrace.EVENT_STOP:
                if now.rip == end:
                    return int(now.rbx)
                if late:
                    self.give_up(now, may_abandon)
                self.resume()
            elif self.stop.signal == signal.SIGTRAP | ptrace.SYSCALL_STOP:
                if now.rip == end:
                    # Registers cannot be set during a stop at a system call. The stop that this
                    # causes follows at once.
                    ptrace.interrupt_thread(self.tid)
                    ptrace.resume(self.tid)
                else:
                    self.resume()
            elif self.stop.signal == self.notifier:
                if now.rip == end:
                    return int(now.rbx)
                self.resume()  # another process sent it, and the program ignores it
            else:
                self.postpone_signal(now)

    def give_up(self, now: Registers, may_abandon: bool) -> None:
        """Give up a call that takes too long: leave it running, or break off its wait for a lock.

        Raises CallFailed.
        """
        waits = (
            signed_number(now.orig_rax) == SYSCALL_FUTEX and signed_number(now.rax) in RESTART_CODES
        )
        if waits and may_abandon:
            slot = restoring_call.return_slot(self.saved.rsp, len(self.vectors))
            self.write(slot, bytes(8))
            raise CallFailed("waits for a lock")
        self.left_running = True
        raise LeftRunning("a call takes long")

    def postpone_signal(self, now: Registers) -> None:
        """Postpone the signal that stopped the thread until after the call.

        Raises CallFailed for a real fault.
        """
        number = self.stop.signal
        if number in FAULTS and self.is_fault():
            raise CallFailed(f"crashed at {now.rip:#x}")
        if number != signal.SIGSTOP:
            # The kernel queues a blocked signal again, with its siginfo.
            mask = ptrace.signal_mask(self.tid) | signal_bit(number)
            ptrace.set_signal_mask(self.tid, mask)
        self.resume(number)

    def is_fault(self) -> bool:
        """Return whether the thread caused the signal, and not another process by kill()."""
        (si_code,) = struct.unpack_from("i", ptrace.signal_info(self.tid), 8)
        return bool(si_code > 0)

    def read(self, address: int, size: int) -> bytes:
        """Return memory of the process. Raises ProcessGone, OSError."""
        found = os.pread(self.memory, size, address)
        if len(found) != size:
            raise ProcessGone
        return found

    def write(self, address: int, content: bytes) -> None:
        """Write to the memory of the process. Raises ProcessGone, OSError."""
        while content:
            written = os.pwrite(self.memory, content, address)
            if not written:
                raise ProcessGone
            address, content = address + written, content[written:]

    def restore_and_detach(self) -> None:
        """Restore everything and end the tracing; signals that came meanwhile are delivered now."""
        if not self.left_running:
            # In this order: until the registers are set, the thread restores the rest itself.
            if self.vectors:
                ptrace.set_signal_mask(self.tid, self.mask)
                ptrace.set_vector_state(self.tid, self.vectors)
            ptrace.set_registers(self.tid, self.saved)
        ptrace.detach(self.tid)

    def shorten_wait(self, site: CallSite, waited_ns: int) -> None:
        """Shorten the time limit of an interrupted wait that starts again, by `waited_ns`."""
        if not self.ended_by_the_stop:
            return
        shortened = shorten_limit(self.saved, waited_ns, self.read)
        if shortened is None:
            return
        register, left_ns = shortened
        if self.saved.orig_rax in MILLISECONDS:
            setattr(self.saved, register, -(-left_ns // 1_000_000))
        else:
            place = site.code + restoring_call.TIME_LIMIT
            self.write(place, TIMESPEC_FORM.pack(*divmod(left_ns, 1_000_000_000)))
            setattr(self.saved, register, place)

    def in_earlier_call(self, site: CallSite) -> bool:
        """Return whether an earlier call still runs on this thread.

        Its tracer was killed or left it running.
        """
        first, last = site.code, site.code + restoring_call.SIZE
        if first <= self.saved.rip < last:
            return True
        stack = os.pread(self.memory, STACK_SEARCHED_BYTES, self.saved.rsp)
        high_bytes = first.to_bytes(8, "little")[2:]
        offset = stack.find(high_bytes)
        while offset >= 0:
            word = int.from_bytes(stack[offset - 2 : offset + 6], "little")
            if offset % 8 == 2 and first <= word < last:
                return True
            offset = stack.find(high_bytes, offset + 1)
        return False

    def in_restartable_sequence(self) -> bool:
        """Return whether the thread is inside a restartable sequence (rseq).

        Such a sequence must be aborted when the thread leaves it, which a tracer cannot do.
        """
        area = ptrace.rseq_area(self.tid)
        if not area:
            return False
        descriptor = int.from_bytes(self.read(area + 8, 8), "little")
        if not descriptor:
            return False
        sequence = self.read(descriptor, RSEQ_CS.size)
        _version, _flags, start, length, _abort = RSEQ_CS.unpack(sequence)
        return bool(start <= self.saved.rip < start + length)


def stop_thread(tid: int, memory: int, until_ns: int) -> StoppedThread:
    """Seize and stop the thread, until CLOCK_MONOTONIC `until_ns`.

    Raises OSError if that is not permitted, ProcessGone, and TimeUp. After TimeUp the thread is
    traced until the calling thread ends.
    """
    ptrace.seize(tid)
    ptrace.interrupt_thread(tid)
    stop = ptrace.wait(tid, until_ns)
    while stop.event != ptrace.EVENT_STOP:
        # A signal came first. It is delivered as without us. Its stop may have cancelled the
        # request.
        ptrace.interrupt_thread(tid)
        ptrace.resume(tid, stop.signal)
        stop = ptrace.wait(tid, until_ns)
    # The stop begins here: until now the thread ran, or waited for a core as without us.
    since_ns = time.monotonic_ns()
    saved = ptrace.registers(tid)
    ended = resume_wait(saved)
    mask = ptrace.signal_mask(tid)
    return StoppedThread(tid, memory, saved, mask, stop, since_ns, ended_by_the_stop=ended)
