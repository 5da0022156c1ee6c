"""The raw ptrace calls (x86-64 Linux), for one thread of another process.

All calls about one tracee must come from one OS thread: the kernel knows the tracer by its thread
id.
"""

import ctypes
import errno
import os
import time
from dataclasses import dataclass

CONT, GETREGS, SETREGS, DETACH, SYSCALL = 7, 12, 13, 17, 24
SETOPTIONS, GETSIGINFO = 0x4200, 0x4202
TRACESYSGOOD = 1
SYSCALL_STOP = 0x80  # added to SIGTRAP at a system call
GETREGSET, SETREGSET = 0x4204, 0x4205
SEIZE, INTERRUPT = 0x4206, 0x4207
GETSIGMASK, SETSIGMASK = 0x420A, 0x420B
GET_RSEQ_CONFIGURATION = 0x420F
NT_X86_XSTATE = 0x202
WAIT_ALL = 0x40000000  # __WALL: also threads that are not our children
EVENT_STOP = 128
XSTATE_BYTES = 16384  # AMX tiles make it 11 KB; the kernel says how much it filled
SIGINFO_BYTES = 128
SPIN_NS = 50_000  # most remote calls return within this
# On a busy host, a tracer that spins on would take the core from the thread that it waits for (2 to
# 30 ms per call).
SHORT_SLEEP_S = 20e-6
LONG_SLEEP_S = 200e-6
LONG_WAIT_NS = 20_000_000
PR_SET_TIMERSLACK = 29


REGISTER_NAMES = """
r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi
orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs
"""


class Registers(ctypes.Structure):
    """user_regs_struct of x86-64."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in REGISTER_NAMES.split()]


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class ProcessGone(Exception):
    """The target has exited, or is not traced by us any more."""


class TimeUp(Exception):
    """The thread did not stop in time."""


@dataclass(frozen=True)
class Stop:
    """Why a thread is stopped.

    event: EVENT_STOP for our trap or a group stop, 0 for a signal.
    """

    signal: int
    event: int


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def call_ptrace(code: int, tid: int, address: int = 0, data: object = 0) -> int:
    """Make one ptrace call. Raises ProcessGone for ESRCH, else OSError."""
    ctypes.set_errno(0)
    result: int = LIBC.ptrace(code, tid, address, data)
    if result < 0:
        error = ctypes.get_errno()
        if error == errno.ESRCH:
            raise ProcessGone
        raise OSError(error, os.strerror(error))
    return result


def seize(tid: int) -> None:
    """Become the tracer without stopping the thread. Raises OSError EPERM if not permitted."""
    call_ptrace(SEIZE, tid)


def interrupt_thread(tid: int) -> None:
    """Request a stop of the thread.

    A stop for a signal that comes at the same moment can cancel the request (Linux clears it in
    `ptrace_stop`), so repeat it after every other stop.
    """
    call_ptrace(INTERRUPT, tid)


def resume(tid: int, signal: int = 0) -> None:
    """Let the thread run on, and deliver `signal` if it is not 0."""
    call_ptrace(CONT, tid, 0, signal)


def resume_to_system_call(tid: int, signal: int = 0) -> None:
    """Let the thread run to its next system call, or the end of the one it is in."""
    call_ptrace(SYSCALL, tid, 0, signal)


def mark_system_calls(tid: int) -> None:
    """Mark stops at system calls by SYSCALL_STOP."""
    call_ptrace(SETOPTIONS, tid, 0, TRACESYSGOOD)


def detach(tid: int, signal: int = 0) -> None:
    """Let the thread run on, and stop tracing it."""
    call_ptrace(DETACH, tid, 0, signal)


def registers(tid: int) -> Registers:
    """Return the registers of the thread."""
    found = Registers()
    call_ptrace(GETREGS, tid, 0, ctypes.addressof(found))
    return found


def set_registers(tid: int, wanted: Registers) -> None:
    """Set the registers of the thread."""
    call_ptrace(SETREGS, tid, 0, ctypes.addressof(wanted))


def copy_registers(given: Registers) -> Registers:
    """Return a copy."""
    return Registers.from_buffer_copy(given)


def vector_state(tid: int) -> bytes:
    """Return the x87, SSE, AVX and AMX state, which numerical code uses when it is stopped."""
    buffer = ctypes.create_string_buffer(XSTATE_BYTES)
    vector = Vector(ctypes.addressof(buffer), XSTATE_BYTES)
    call_ptrace(GETREGSET, tid, NT_X86_XSTATE, ctypes.addressof(vector))
    return buffer.raw[: vector.length]


def set_vector_state(tid: int, state: bytes) -> None:
    """Set what `vector_state` returns."""
    buffer = ctypes.create_string_buffer(state, len(state))
    vector = Vector(ctypes.addressof(buffer), len(state))
    call_ptrace(SETREGSET, tid, NT_X86_XSTATE, ctypes.addressof(vector))


def signal_info(tid: int) -> bytes:
    """Return siginfo_t of the signal that stopped the thread; bytes 8 to 12 are si_code."""
    buffer = ctypes.create_string_buffer(SIGINFO_BYTES)
    call_ptrace(GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    return buffer.raw


def signal_mask(tid: int) -> int:
    """Return the mask of the signals that the thread blocks."""
    mask = ctypes.c_ulonglong()
    call_ptrace(GETSIGMASK, tid, 8, ctypes.addressof(mask))
    return mask.value


def set_signal_mask(tid: int, mask: int) -> None:
    """Set the mask of the signals that the thread blocks."""
    wanted = ctypes.c_ulonglong(mask)
    call_ptrace(SETSIGMASK, tid, 8, ctypes.addressof(wanted))


def rseq_area(tid: int) -> int:
    """Return the address of the thread's struct rseq, 0 if it has none or it is unknown.

    Kernels before 5.13 do not report it.
    """
    area = (ctypes.c_ulonglong * 3)()
    try:
        call_ptrace(GET_RSEQ_CONFIGURATION, tid, ctypes.sizeof(area), ctypes.addressof(area))
    except OSError:
        return 0
    return int(area[0])


def sleep_exactly() -> None:
    """Make short sleeps of this thread end on time, not 50 us late."""
    LIBC.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def wait(tid: int, until_ns: int) -> Stop:
    """Wait for the thread to stop, at most until CLOCK_MONOTONIC `until_ns`.

    Raises TimeUp if it still runs then, ProcessGone if it has ended.
    """
    began_ns = time.monotonic_ns()
    while True:
        try:
            # WNOWAIT: the exit status is for the parent, which may be this process.
            events = os.WSTOPPED | os.WEXITED
            seen = os.waitid(os.P_PID, tid, events | os.WNOHANG | os.WNOWAIT | WAIT_ALL)
        except ChildProcessError:
            raise ProcessGone from None
        if seen:
            if seen.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
                raise ProcessGone
            found, status = os.waitpid(tid, os.WNOHANG | WAIT_ALL)
            if found and os.WIFSTOPPED(status):
                return Stop(os.WSTOPSIG(status), status >> 16)
        now_ns = time.monotonic_ns()
        if now_ns >= until_ns:
            raise TimeUp
        if now_ns - began_ns > SPIN_NS:
            time.sleep(SHORT_SLEEP_S if now_ns - began_ns < LONG_WAIT_NS else LONG_SLEEP_S)
