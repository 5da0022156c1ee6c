"""System calls that a stop interrupts: which were under way, and which the kernel ends with EINTR though no handler ran.

The kernel restarts most interrupted calls by itself. A few it ends with EINTR at any stop (signal(7)); those are given a code
that makes the kernel restart them unless a handler runs, which is what a signal would have done.
"""

import ctypes

from perfscope.agent.entry.ptrace import Registers

EINTR = 4
RESTART_CODES = {-512, -513, -514, -516}  # ERESTARTSYS, -NOINTR, -NOHAND, -RESTARTBLOCK: only a tracer sees them
RESTART_UNLESS_HANDLED = -514
NO_SYSCALL = 0xFFFFFFFFFFFFFFFF
# System calls that the kernel ends with EINTR at any stop, with the register and value that mean "no time limit".
ENDED_BY_A_STOP = {232: ("r10", 0xFFFFFFFF), 281: ("r10", 0xFFFFFFFF), 441: ("r10", 0), 128: ("rdx", 0)}


def signed(value: int) -> int:
    """Return the word as a signed number."""
    return ctypes.c_longlong(value).value


def interrupted_call(saved: Registers) -> int | None:
    """Return the number of the system call that the stop interrupted; None when it had ended, or in user code."""
    number, result = signed(saved.orig_rax), signed(saved.rax)
    interrupted = result in RESTART_CODES or (result == -EINTR and number in ENDED_BY_A_STOP)
    return number if number >= 0 and interrupted else None


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
