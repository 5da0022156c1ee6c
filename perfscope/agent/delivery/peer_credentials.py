"""The process at the other end of a unix socket, by the credentials that the kernel reports."""

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from perfscope.agent.collector import TargetProcess
from perfscope.agent.host import proc

CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: pid, uid, gid."""
OVERFLOW_UID = 65534
"""What a user namespace shows for a user it does not know (/proc/sys/kernel/overflowuid)."""


@dataclass(frozen=True)
class Peer:
    """A process that has connected; a later process with the same pid has other `start_ticks`."""

    pid: int
    uid: int
    start_ticks: int

    def is_process(self, pid: int, start_ticks: int) -> bool:
        """Return whether this is that process; if it has ended, only the pid is compared."""
        return self.pid == pid and self.start_ticks in (0, start_ticks)


def peer_of(connection: socket.socket) -> Peer:
    """Return the process that connected; `start_ticks` is 0 if it has ended."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, _ = CREDENTIALS.unpack(credentials)
    process = proc.stat(pid)
    return Peer(pid, uid, process.start_ticks if process is not None else 0)


class TrustedUsers:
    """The users whose processes may connect: root, our own, and those of recorded processes."""

    def __init__(self) -> None:
        self.uids = {0, os.geteuid()}
        self.checked: set[tuple[int, int]] = set()

    def uids_including(self, processes: Iterable[TargetProcess]) -> set[int]:
        """Return all uids, those of `processes` included; each process is looked up once."""
        for process in processes:
            key = (process.pid, process.start_ticks)
            if key not in self.checked:
                self.checked.add(key)
                with contextlib.suppress(OSError):
                    self.uids.add(int(proc.read_status(process.pid)["Uid"].split()[1]))
        return self.uids


@dataclass(frozen=True)
class AgentAddress:
    """Where a probe connects: an abstract socket name, the token to send, the expected listener.

    `listener` is the agent as SO_PEERCRED shows it to the probe: `pid` (0: not visible there),
    `start` (clock ticks since boot, 0 if unknown) and `uid`. The probe checks it, because any
    process can take a name in the abstract namespace.
    """

    address: str
    token: str
    listener: dict[str, int]


def listener_seen_by(pid: int, listener: int) -> dict[str, int]:
    """Return how SO_PEERCRED shows process `listener`, of our user, to process `pid`."""
    visible = in_same_namespace(pid, "pid")
    process = proc.stat(listener) if visible else None
    start_ticks = process.start_ticks if process is not None else 0
    return {"pid": listener if visible else 0, "start": start_ticks, "uid": uid_seen_by(pid)}


def in_same_namespace(pid: int, kind: str) -> bool:
    """Return whether process `pid` is in our namespace of this kind; True if that is unknown."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino == os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return True


def uid_seen_by(pid: int) -> int:
    """Return our effective uid as the user namespace of process `pid` numbers it."""
    uid = os.geteuid()
    if in_same_namespace(pid, "user"):
        return uid
    for line in proc.kernel_lines(proc.read(f"/proc/{pid}/uid_map")):
        inside, outside, count = map(int, line.split())
        if outside <= uid < outside + count:
            return inside + uid - outside
    return OVERFLOW_UID


def is_memory_file(file: int) -> bool:
    """Return whether a descriptor is a memory file; reading anything else could block forever."""
    try:
        fcntl.fcntl(file, fcntl.F_GET_SEALS)
        return stat.S_ISREG(os.fstat(file).st_mode)
    except OSError:
        return False
