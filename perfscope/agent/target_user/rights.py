"""Who owns a target, and how a child process of ours takes on that user's rights and no others."""

import ctypes
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from perfscope.agent.host import proc

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_SYS_PTRACE = 1 << 19
CAPABILITY_VERSION_3 = 0x20080522
MORE_MEMORY_BYTES = 1 << 30
"""A child may use this much beyond what it inherits: a symbol table of a large libpython is 100 MB.
"""


@dataclass(frozen=True)
class TargetUser:
    """The user a target runs as: ids as this process sees them, and the target's root directory.

    `root` is an O_PATH descriptor, so that a path means the same after the target has ended.
    `foreign`: the files are another user's, or are seen through another mount namespace or root.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    root: int
    foreign: bool

    def read_by_child(self) -> "TargetUser":
        """Return the user with all files as foreign: a child with a time limit reads them.

        Files of any owner may be on a mount that does not answer. Both share the root directory.
        """
        return replace(self, foreign=True)

    def close(self) -> None:
        """Close the root directory."""
        os.close(self.root)


def user_of(pid: int) -> TargetUser:
    """Return the user of process `pid`, to be closed. Raises OSError when the process is gone.

    Where the kernel does not show us the root directory of the process, our own is used, and its
    files count as foreign.
    """
    status = proc.read_status(pid)
    uid, gid = (int(status[name].split()[1]) for name in ("Uid", "Gid"))
    groups = tuple(map(int, status.get("Groups", "").split()))
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        foreign = uid != os.geteuid() or not shares_root(pid, root)
    except PermissionError:
        root, foreign = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), True
    return TargetUser(uid, gid, groups, root, foreign)


@contextmanager
def target_user(pid: int) -> Iterator[TargetUser]:
    """Yield the user of process `pid`. Raises OSError when the process is gone."""
    user = user_of(pid)
    try:
        yield user
    finally:
        user.close()


def shares_root(pid: int, root: int) -> bool:
    """Return whether a path refers to the same file in process `pid` as in this process."""
    target_root, our_root = os.fstat(root), os.stat("/")
    if (target_root.st_dev, target_root.st_ino) != (our_root.st_dev, our_root.st_ino):
        return False
    target_mounts, our_mounts = os.stat(f"/proc/{pid}/ns/mnt"), os.stat("/proc/self/ns/mnt")
    return target_mounts.st_ino == our_mounts.st_ino


def take_rights(user: TargetUser) -> None:
    """Become `user` for good: its ids, no capabilities, bounded memory, and not readable by that
    user.

    Raises OSError where that is not permitted; the caller must then end the process.
    """
    os.environ.clear()
    limit_bytes = MORE_MEMORY_BYTES + memory_in_use_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    take_identity(user)
    keep_capabilities(0)
    # A change of ids resets both: the process would be readable by the user, and outlive us.
    control(PR_SET_DUMPABLE, 0)
    control(PR_SET_PDEATHSIG, signal.SIGKILL)


def take_rights_to_trace(user: TargetUser) -> None:
    """Become `user` before a program of ours is executed, with the right to read other processes'
    memory if we have it.

    The program opens files as the user does. Raises OSError.
    """
    kept = proc.capabilities(os.getpid()) & CAP_SYS_PTRACE
    control(PR_SET_KEEPCAPS, 1)
    take_identity(user)
    keep_capabilities(kept)
    control(PR_SET_PDEATHSIG, signal.SIGKILL)


def take_identity(user: TargetUser) -> None:
    """Take on the user's ids, for good. Raises OSError."""
    control(PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() == 0:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    elif (os.geteuid(), os.getegid()) != (user.uid, user.gid):
        raise PermissionError(1, "only root may act as another user")


def memory_in_use_bytes() -> int:
    """Return the address space of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


def control(option: int, value: int, third: int = 0) -> None:
    """Call prctl. Raises OSError."""
    if LIBC.prctl(option, value, third, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def keep_capabilities(kept: int) -> None:
    """Keep only the capabilities `kept` (a bit mask below 2**32), also in a program that is
    executed. Raises OSError.
    """
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    if LIBC.capset(header, (ctypes.c_uint32 * 6)(kept, kept, kept)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for number in range(32):
        if kept >> number & 1:
            control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
