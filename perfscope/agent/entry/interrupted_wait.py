"""System calls that a stop interrupts: which were under way, and which the kernel ends with EINTR
though no handler ran.

The kernel restarts most interrupted calls by itself. A few it ends with EINTR at any stop
(signal(7)); those are given a code that makes the kernel restart them unless a handler runs, which
is what a signal would have done. None of them has transferred anything by then: otherwise it would
have returned how much.
"""

import ctypes
import struct
from collections.abc import Callable

from perfscope.agent.entry.ptrace import Registers

EINTR = 4
RESTART_CODES = {
    -512,
    -513,
    -514,
    -516,
}  # ERESTARTSYS, -NOINTR, -NOHAND, -RESTARTBLOCK: only a tracer sees them
RESTART_UNLESS_HANDLED = -514
NO_SYSCALL = 0xFFFFFFFFFFFFFFFF

# Calls with a time limit, by the register that holds it: milliseconds (-1: none), or the address of
# a timespec (0: none).
MILLISECONDS = {232: "r10", 281: "r10"}  # epoll_wait epoll_pwait
TIMESPEC = {441: "r10", 128: "rdx", 220: "r10", 208: "r8", 333: "r8"}
"""epoll_pwait2 rt_sigtimedwait semtimedop io_getevents io_pgetevents"""
# read write readv writev connect accept sendto recvfrom sendmsg recvmsg semop accept4 recvmmsg
# sendmmsg io_uring_enter: without a limit, or with one that belongs to the socket.
WITHOUT_LIMIT = frozenset((0, 1, 19, 20, 42, 43, 44, 45, 46, 47, 65, 288, 299, 307, 426))
ENDED_BY_A_STOP = WITHOUT_LIMIT | MILLISECONDS.keys() | TIMESPEC.keys()
TIMESPEC_FORM = struct.Struct("<qq")


def signed(value: int, bits: int = 64) -> int:
    """Return the low `bits` of the word as a signed number."""
    return ctypes.c_longlong(value).value if bits == 64 else ctypes.c_int(value).value


def interrupted_call(saved: Registers) -> int | None:
    """Return the number of the system call that the stop interrupted; None when it had ended, or in
    user code.
    """
    number, result = signed(saved.orig_rax), signed(saved.rax)
    interrupted = result in RESTART_CODES or (result == -EINTR and number in ENDED_BY_A_STOP)
    return number if number >= 0 and interrupted else None


def resume_wait(saved: Registers) -> bool:
    """Have a call that the stop ended with EINTR restarted unless a handler runs; return whether it
    was such a call.
    """
    if signed(saved.rax) != -EINTR or saved.orig_rax not in ENDED_BY_A_STOP:
        return False
    saved.rax = RESTART_UNLESS_HANDLED & NO_SYSCALL
    return True


def shorten_limit(
    saved: Registers, waited_ns: int, read: Callable[[int, int], bytes]
) -> tuple[str, int] | None:
    """Return (register, time in nanoseconds that is left) for a call with a time limit that has
    waited for `waited_ns`.

    read: reads the process's memory at (address, bytes). None for a call without a limit.
    """
    number = saved.orig_rax
    if number in MILLISECONDS:
        register = MILLISECONDS[number]
        limit_ns = signed(getattr(saved, register), 32) * 1_000_000
    elif number in TIMESPEC and getattr(saved, TIMESPEC[number]):
        register = TIMESPEC[number]
        seconds, nanoseconds = TIMESPEC_FORM.unpack(
            read(getattr(saved, register), TIMESPEC_FORM.size)
        )
        limit_ns = seconds * 1_000_000_000 + nanoseconds
    else:
        return None
    return (register, max(limit_ns - waited_ns, 0)) if limit_ns > 0 else None
