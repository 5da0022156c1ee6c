"""The system calls that a thread may wait in for long, by number: name, kind of wait, and which of
their arguments are a path, a descriptor or a time limit.

Numbers: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
(aarch64).
"""

import platform
from dataclasses import dataclass
from typing import Final

NONE: Final = -1
FILE: Final = "file"
LOCK: Final = "lock"
CHILD: Final = "child"
SLEEP: Final = "sleep"
POLL: Final = "poll"
NETWORK: Final = "network"
REQUESTS: Final = "requests"
OTHER: Final = "other"
DESCRIPTOR: Final = "descriptor"
"""A call on an open file: the kind of wait is that of the file."""

RESTARTED: Final = "restart_syscall"
"""A wait that continues after a stop interrupted it: the kernel no longer shows its target."""

# The forms of a time limit.
MILLISECONDS: Final = "milliseconds"
TIMESPEC: Final = "timespec"
TIMEVAL: Final = "timeval"
CLOCK_SLEEP: Final = "clock-sleep"
"""A timespec, an instant if the flags (the argument before it) say so."""
FUTEX_LIMIT: Final = "futex"
"""A timespec, an instant if the operation (argument 1) says so."""


@dataclass(frozen=True)
class CallForm:
    """A system call; `path`, `file` and `limit_at` are positions of arguments, NONE if it has none.

    `numbers`: on x86-64 and on aarch64, NONE where it does not exist.
    """

    name: str
    numbers: tuple[int, int]
    kind: str
    path: int = NONE
    file: int = NONE
    limit: str = ""
    limit_at: int = NONE


FORMS: Final = (
    CallForm("open", (2, NONE), FILE, path=0),
    CallForm("openat", (257, 56), FILE, path=1),
    CallForm("openat2", (437, 437), FILE, path=1),
    CallForm("stat", (4, NONE), FILE, path=0),
    CallForm("lstat", (6, NONE), FILE, path=0),
    CallForm("newfstatat", (262, 79), FILE, path=1),
    CallForm("statx", (332, 291), FILE, path=1),
    CallForm("access", (21, NONE), FILE, path=0),
    CallForm("faccessat", (269, 48), FILE, path=1),
    CallForm("faccessat2", (439, 439), FILE, path=1),
    CallForm("mkdir", (83, NONE), FILE, path=0),
    CallForm("mkdirat", (258, 34), FILE, path=1),
    CallForm("unlink", (87, NONE), FILE, path=0),
    CallForm("unlinkat", (263, 35), FILE, path=1),
    CallForm("rename", (82, NONE), FILE, path=0),
    CallForm("renameat2", (316, 276), FILE, path=1),
    CallForm("readlink", (89, NONE), FILE, path=0),
    CallForm("readlinkat", (267, 78), FILE, path=1),
    CallForm("statfs", (137, 43), FILE, path=0),
    CallForm("getdents64", (217, 61), FILE, file=0),
    CallForm("fstat", (5, 80), FILE, file=0),
    CallForm("flock", (73, 32), FILE, file=0),
    CallForm("fcntl", (72, 25), FILE, file=0),
    CallForm("close", (3, 57), FILE, file=0),
    CallForm("read", (0, 63), DESCRIPTOR, file=0),
    CallForm("readv", (19, 65), DESCRIPTOR, file=0),
    CallForm("pread64", (17, 67), DESCRIPTOR, file=0),
    CallForm("preadv", (295, 69), DESCRIPTOR, file=0),
    CallForm("write", (1, 64), DESCRIPTOR, file=0),
    CallForm("writev", (20, 66), DESCRIPTOR, file=0),
    CallForm("pwrite64", (18, 68), DESCRIPTOR, file=0),
    CallForm("ioctl", (16, 29), OTHER, file=0),
    CallForm("connect", (42, 203), NETWORK, file=0),
    CallForm("sendto", (44, 206), NETWORK, file=0),
    CallForm("recvfrom", (45, 207), NETWORK, file=0),
    CallForm("sendmsg", (46, 211), NETWORK, file=0),
    CallForm("recvmsg", (47, 212), NETWORK, file=0),
    CallForm("accept", (43, 202), REQUESTS, file=0),
    CallForm("accept4", (288, 242), REQUESTS, file=0),
    CallForm("poll", (7, NONE), POLL, limit=MILLISECONDS, limit_at=2),
    CallForm("ppoll", (271, 73), POLL, limit=TIMESPEC, limit_at=2),
    CallForm("select", (23, NONE), POLL, limit=TIMEVAL, limit_at=4),
    CallForm("pselect6", (270, 72), POLL, limit=TIMESPEC, limit_at=4),
    CallForm("epoll_wait", (232, NONE), POLL, file=0, limit=MILLISECONDS, limit_at=3),
    CallForm("epoll_pwait", (281, 22), POLL, file=0, limit=MILLISECONDS, limit_at=3),
    CallForm("epoll_pwait2", (441, 441), POLL, file=0, limit=TIMESPEC, limit_at=3),
    CallForm("futex", (202, 98), LOCK, limit=FUTEX_LIMIT, limit_at=3),
    CallForm("semop", (65, 193), LOCK),
    CallForm("semtimedop", (220, 192), LOCK, limit=TIMESPEC, limit_at=3),
    CallForm("nanosleep", (35, 101), SLEEP, limit=TIMESPEC, limit_at=0),
    CallForm("clock_nanosleep", (230, 115), SLEEP, limit=CLOCK_SLEEP, limit_at=2),
    CallForm("pause", (34, NONE), SLEEP),
    CallForm("rt_sigtimedwait", (128, 137), SLEEP, limit=TIMESPEC, limit_at=2),
    CallForm(RESTARTED, (219, 128), OTHER),
    CallForm("wait4", (61, 260), CHILD),
    CallForm("waitid", (247, 95), CHILD),
)
MACHINES: Final = {"x86_64": 0, "aarch64": 1}


def numbered_forms() -> dict[int, CallForm]:
    """Return the forms of the system calls of this machine by number; none if it is unknown."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return {}
    return {form.numbers[machine]: form for form in FORMS if form.numbers[machine] != NONE}
