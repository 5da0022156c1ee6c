"""What a thread in a system call waits for, by the number of the call.

Numbers: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
(aarch64).
"""

import platform
from typing import Final

FUTEX: Final = "futex"
DESCRIPTOR: Final = "descriptor"
"""A call on an open file: what it waits for depends on the kind of file."""
SELECT: Final = "select"
"""Without files it lets time pass: `time.sleep` of Python before 3.11."""
CLOCK_SLEEP: Final = "clock-sleep"
"""Until an instant it is `time.sleep` of Python from 3.11 on, else the sleep of a library."""
LIBRARY_SLEEP: Final = "library-sleep"
"""A library in C sleeps before it tries again: SQLite for the lock of its file, for example."""
X86_64: Final[dict[str, tuple[int, ...]]] = {
    FUTEX: (202, 449, 454, 455, 456),  # futex futex_waitv futex_wake futex_wait futex_requeue
    # read write readv writev sendfile pread64 pwrite64 preadv pwritev preadv2 pwritev2 splice
    DESCRIPTOR: (0, 1, 19, 20, 40, 17, 18, 295, 296, 327, 328, 275),
    # open close stat fstat lstat lseek access msync fsync fdatasync truncate ftruncate
    # getdents getcwd rename mkdir unlink readlink sync getdents64 openat newfstatat unlinkat
    # renameat fallocate syncfs copy_file_range statx io_getevents io_pgetevents io_uring_enter
    # sync_file_range readahead
    "file": (
        (2, 3, 4, 5, 6, 8, 21, 26, 74, 75, 76, 77, 78, 79)
        + (82, 83, 87, 89, 162, 217, 257, 262, 263, 264, 285, 306)
        + (326, 332, 208, 333, 426, 277, 187)
    ),
    # connect accept sendto recvfrom sendmsg recvmsg accept4 recvmmsg sendmmsg
    "network": (42, 43, 44, 45, 46, 47, 288, 299, 307),
    "poll": (7, 232, 271, 281, 441),  # poll epoll_wait ppoll epoll_pwait epoll_pwait2
    SELECT: (23, 270),  # select pselect6
    "sleep": (34,),  # pause
    CLOCK_SLEEP: (230,),  # clock_nanosleep
    LIBRARY_SLEEP: (35,),  # nanosleep
    # semop semtimedop, fcntl and flock: nothing but a lock keeps a thread in these two
    "lock": (65, 220, 72, 73),
    "child": (61, 247),  # wait4 waitid
}
AARCH64: Final[dict[str, tuple[int, ...]]] = {
    FUTEX: (98, 449, 454, 455, 456),
    DESCRIPTOR: (63, 64, 65, 66, 71, 67, 68, 69, 70, 286, 287, 76),
    "file": (
        (56, 57, 80, 62, 48, 227, 82, 83, 45, 46, 61, 17)
        + (38, 34, 35, 78, 81, 79, 276, 47, 267)
        + (285, 291, 4, 292, 426, 84, 213)
    ),
    "network": (203, 202, 206, 207, 211, 212, 242, 243, 269),
    "poll": (73, 22, 441),
    SELECT: (72,),
    CLOCK_SLEEP: (115,),
    LIBRARY_SLEEP: (101,),
    "lock": (193, 192, 25, 32),
    "child": (260, 95),
}
TERMINALS: Final = ("/dev/pts/", "/dev/tty", "/dev/console")
TABLES: Final = {"x86_64": X86_64, "aarch64": AARCH64}


def system_call_kinds() -> dict[int, str] | None:
    """Return the kind of each system call of this machine, by number; None if unknown."""
    table = TABLES.get(platform.machine())
    if table is None:
        return None
    kinds: dict[int, str] = {}
    for kind, numbers in table.items():
        kinds |= dict.fromkeys(numbers, kind)
    return kinds


def kind_of_file(link: str) -> str:
    """Return what a thread waits for in a call on an open file.

    `link` is the target of its /proc/PID/fd link; reading that never touches the file itself.
    """
    if link.startswith("socket:"):
        return "network"
    if link.startswith("pipe:"):
        return "pipe"
    if link.startswith("anon_inode:"):  # eventfd, timerfd, epoll, inotify
        return "poll"
    if link.startswith(TERMINALS):
        return "terminal"
    is_device = link.startswith("/dev/") and not link.startswith("/dev/shm/")
    return "file" if link.startswith("/") and not is_device else "other"
