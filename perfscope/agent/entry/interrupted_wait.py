"""System calls that a stop interrupts, and how to restart those that the kernel does not restart.

The kernel restarts most interrupted calls. A few end with EINTR at any stop, although no handler
ran (signal(7)). These get a result code that makes the kernel restart them unless a handler runs,
as after a signal. None of them has transferred any data yet: otherwise it would have returned the
number of bytes.
"""

import ctypes
import struct
from collections.abc import Callable

from perfscope.agent.entry.ptrace import Registers

EINTR = 4
# ERESTARTSYS, -NOINTR, -NOHAND, -RESTARTBLOCK: only a tracer sees these results
RESTART_CODES = {-512, -513, -514, -516}
RESTART_UNLESS_HANDLED = -514
NO_SYSCALL = 0xFFFFFFFFFFFFFFFF

# Calls with a time limit, by the register that holds it: milliseconds (-1: none), or the address of
# a timespec (0: none).
MILLISECONDS = {232: "r10", 281: "r10"}  # epoll_wait epoll_pwait
# epoll_pwait2 rt_sigtimedwait semtimedop io_getevents io_pgetevents
TIMESPEC = {441: "r10", 128: "rdx", 220: "r10", 208: "r8", 333: "r8"}
# read write readv writev connect accept sendto recvfrom sendmsg recvmsg semop accept4 recvmmsg
# sendmmsg io_uring_enter: without a limit, or with one that belongs to the socket.
WITHOUT_LIMIT = frozenset((0, 1, 19, 20, 42, 43, 44, 45, 46, 47, 65, 288, 299, 307, 426))
ENDED_BY_A_STOP = WITHOUT_LIMIT | MILLISECONDS.keys() | TIMESPEC.keys()
TIMESPEC_FORM = struct.Struct("<qq")


def signed_number(value: int, bits: int = 64) -> int:
    """Return the low `bits` of the word as a signed number."""
    return ctypes.c_longlong(value).value if bits == 64 else ctypes.c_int(value).value


def interrupted_call(saved: Registers) -> int | None:
    """Return the number of the system call that the stop interrupted, None if there was none."""
    number, result = signed_number(saved.orig_rax), signed_number(saved.rax)
    interrupted = result in RESTART_CODES or (result == -EINTR and number in ENDED_BY_A_STOP)
    return number if number >= 0 and interrupted else None


def resume_wait(saved: Registers) -> bool:
    """Make a call that the stop ended with EINTR restart unless a handler runs.

    Returns whether it was such a call.
    """
    if signed_number(saved.rax) != -EINTR or saved.orig_rax not in ENDED_BY_A_STOP:
        return False
    saved.rax = RESTART_UNLESS_HANDLED & NO_SYSCALL
    return True


def shorten_limit(
    saved: Registers, waited_ns: int, read: Callable[[int, int], bytes]
) -> tuple[str, int] | None:
    """Return (register of the time limit, nanoseconds that are left) after a wait of `waited_ns`.

    read: reads the process's memory at (address, bytes). Returns None for a call without a limit.
    """
    number = saved.orig_rax
    if number in MILLISECONDS:
        register = MILLISECONDS[number]
        limit_ns = signed_number(getattr(saved, register), 32) * 1_000_000
    elif number in TIMESPEC and getattr(saved, TIMESPEC[number]):
        register = TIMESPEC[number]
        timespec = read(getattr(saved, register), TIMESPEC_FORM.size)
        seconds, nanoseconds = TIMESPEC_FORM.unpack(timespec)
        limit_ns = seconds * 1_000_000_000 + nanoseconds
    else:
        return None
    return (register, max(limit_ns - waited_ns, 0)) if limit_ns > 0 else None
