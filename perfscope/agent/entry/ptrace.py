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
WAIT_ALL = 0x40000000  # __WALL: a thread that is no child of ours
EVENT_STOP = 128
XSTATE_BYTES = 16384  # AMX tiles make it 11 KB; the kernel says how much it filled
SIGINFO_BYTES = 128
SPIN_NS = 50_000  # most remote calls return within this
# a tracer that spins on keeps the thread it waits for off a crowded host's cores (2 to 30 ms a
# call)
SHORT_SLEEP_S = 20e-6
LONG_SLEEP_S = 200e-6
LONG_WAIT_NS = 20_000_000
PR_SET_TIMERSLACK = 29


class Registers(ctypes.Structure):
    """user_regs_struct of x86-64."""

    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in (
            *(
                "r15",
                "r14",
                "r13",
                "r12",
                "rbp",
                "rbx",
                "r11",
                "r10",
                "r9",
                "r8",
                "rax",
                "rcx",
                "rdx",
                "rsi",
                "rdi",
            ),
            *(
                "orig_rax",
                "rip",
                "cs",
                "eflags",
                "rsp",
                "ss",
                "fs_base",
                "gs_base",
                "ds",
                "es",
                "fs",
                "gs",
            ),
        )
    ]


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class ProcessGone(Exception):
    """The target exited, or is no longer ours, in the middle of the work."""


class TimeUp(Exception):
    """The thread did not stop in the time given."""


@dataclass(frozen=True)
class Stop:
    """Why a thread is stopped: `event` is EVENT_STOP for a trap of ours or a group stop, 0 for a
    signal.
    """

    signal: int
    event: int


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def request(code: int, tid: int, address: int = 0, data: object = 0) -> int:
    """One ptrace call. Raises ProcessGone for ESRCH, OSError otherwise."""
    ctypes.set_errno(0)
    result: int = LIBC.ptrace(code, tid, address, data)
    if result < 0:
        error = ctypes.get_errno()
        if error == errno.ESRCH:
            raise ProcessGone
        raise OSError(error, os.strerror(error))
    return result


def seize(tid: int) -> None:
    """Become the tracer without stopping the thread. Raises OSError EPERM where that is not
    allowed.
    """
    request(SEIZE, tid)


def interrupt(tid: int) -> None:
    request(INTERRUPT, tid)


def resume(tid: int, signal: int = 0) -> None:
    request(CONT, tid, 0, signal)


def resume_to_system_call(tid: int, signal: int = 0) -> None:
    """Let the thread run to its next system call, or the end of the one it is in."""
    request(SYSCALL, tid, 0, signal)


def mark_system_calls(tid: int) -> None:
    """Have stops at system calls bear SYSCALL_STOP."""
    request(SETOPTIONS, tid, 0, TRACESYSGOOD)


def detach(tid: int, signal: int = 0) -> None:
    request(DETACH, tid, 0, signal)


def registers(tid: int) -> Registers:
    found = Registers()
    request(GETREGS, tid, 0, ctypes.addressof(found))
    return found


def set_registers(tid: int, wanted: Registers) -> None:
    request(SETREGS, tid, 0, ctypes.addressof(wanted))


def copy_of(given: Registers) -> Registers:
    return Registers.from_buffer_copy(given)


def vector_state(tid: int) -> bytes:
    """The x87, SSE, AVX, AMX state: numerical code is stopped in the middle of its vectors."""
    buffer = ctypes.create_string_buffer(XSTATE_BYTES)
    vector = Vector(ctypes.addressof(buffer), XSTATE_BYTES)
    request(GETREGSET, tid, NT_X86_XSTATE, ctypes.addressof(vector))
    return buffer.raw[: vector.length]


def set_vector_state(tid: int, state: bytes) -> None:
    buffer = ctypes.create_string_buffer(state, len(state))
    vector = Vector(ctypes.addressof(buffer), len(state))
    request(SETREGSET, tid, NT_X86_XSTATE, ctypes.addressof(vector))


def signal_info(tid: int) -> bytes:
    """siginfo_t of the signal that the thread is stopped for; bytes 8 to 12 are si_code."""
    buffer = ctypes.create_string_buffer(SIGINFO_BYTES)
    request(GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    return buffer.raw


def signal_mask(tid: int) -> int:
    mask = ctypes.c_ulonglong()
    request(GETSIGMASK, tid, 8, ctypes.addressof(mask))
    return mask.value


def set_signal_mask(tid: int, mask: int) -> None:
    wanted = ctypes.c_ulonglong(mask)
    request(SETSIGMASK, tid, 8, ctypes.addressof(wanted))


def rseq_area(tid: int) -> int:
    """Address of the thread's struct rseq; 0 when it has none, or on a kernel before 5.13, which
    does not say.
    """
    area = (ctypes.c_ulonglong * 3)()
    try:
        request(GET_RSEQ_CONFIGURATION, tid, ctypes.sizeof(area), ctypes.addressof(area))
    except OSError:
        return 0
    return int(area[0])


def sleep_exactly() -> None:
    """Have short sleeps of this thread end on time, not 50 us late."""
    LIBC.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def wait(tid: int, until_ns: int) -> Stop:
    """Wait for the thread to stop, at most until CLOCK_MONOTONIC `until_ns`.

    Raises TimeUp when it runs on, ProcessGone when it ended.
    """
    began_ns = time.monotonic_ns()
    while True:
        try:
            # Only looked at: an exit status belongs to the parent, which may be this very process.
            seen = os.waitid(
                os.P_PID, tid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT | WAIT_ALL
            )
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
