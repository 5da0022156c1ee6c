"""The part of dynolog, the daemon that Kineto knows, that hands a process the order for a trace:
messages and the socket.

A process started with KINETO_USE_DAEMON=1 asks every ten seconds at the abstract datagram socket
`dynolog` and a zero byte. A message is {uint64 size of the payload; char type[32]; payload}. `req`
asks for a configuration, with {int32 what; int32 count; int64 job; int32 pids[count]}, and is
answered by text, empty for nothing to do; `ctxt` registers {int32 device; int32 pid; int64 job} and
is answered by how many are registered. (Kineto's IPC fabric, as torch 2.13 speaks it.)
"""

import errno
import os
import select
import socket
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.collector_guard import GuardedThread
from perfscope.agent.delivery.peers import CREDENTIALS
from perfscope.agent.delivery.probe_line import set_network
from perfscope.errors import CollectorUnavailable

NAME = b"\0dynolog\0"
HEAD = struct.Struct("<Q32s")
REQUEST = struct.Struct("<iiq")
EVERYTHING = 3
BUSY = 1
LONGEST = 65536
POLL_S = 0.1
MOST_MESSAGES = 256
"""Per poll: any local process may send to the socket, and the rest is read at the next poll."""
PATIENCE_S = 11.0
"""Every ten seconds it asks."""


@dataclass(frozen=True)
class Message:
    """What a process sent; `pid` and `uid` are reported by the kernel, in our namespaces."""

    kind: str
    pid: int
    uid: int
    address: bytes
    what: int


def listen(pid: int) -> socket.socket:
    """A socket under the daemon's name, where `pid` looks for it. Raises CollectorUnavailable with
    the reason.
    """
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = None
    try:
        there = other_network(pid)
        if there is not None:
            set_network(there)
        try:
            return bound()
        finally:
            if there is not None:
                set_network(home)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            said = (
                "dynolog (or another perfscope) has the name: ask it for the trace (`dyno"
                " gputrace`), or end it first"
            )
            raise CollectorUnavailable(said) from None
        said = f"no socket for Kineto in the network namespace of pid {pid}: {error.strerror}"
        raise CollectorUnavailable(said) from None
    finally:
        os.close(home)
        if there is not None:
            os.close(there)


def bound() -> socket.socket:
    here = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        here.setblocking(False)
        here.bind(NAME)
    except OSError:
        here.close()
        raise
    return here


def other_network(pid: int) -> int | None:
    """The network namespace of `pid` where it is not ours; where we may not look, ours is the one
    to try.
    """
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return None
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    except PermissionError:
        return None


class Inbox:
    """Receives on a thread of its own: dropping a descriptor that somebody sent along can sleep as
    long as the sender chose.
    """

    def __init__(self, here: socket.socket) -> None:
        self.here = here
        self.messages: deque[Message] = deque(maxlen=MOST_MESSAGES)
        self.stopped = False
        self.thread = GuardedThread(target=self.receive, name="perfscope-dynolog", daemon=True)
        self.thread.start()

    def take(self) -> list[Message]:
        """Return what has arrived since the last call. Raises StepFailed when the thread has
        failed.
        """
        self.thread.raise_failure()
        return [self.messages.popleft() for _ in range(len(self.messages))]

    def stop(self) -> None:
        """Receive no more. The name is free only once the thread has left its wait, which is
        normally within `POLL_S`.
        """
        self.stopped = True
        self.thread.join(10 * POLL_S)

    def receive(self) -> None:
        while not self.stopped:
            if select.select([self.here], [], [], POLL_S)[0]:
                self.messages.extend(heard(self.here))


def heard(here: socket.socket) -> list[Message]:
    """Return what has arrived: at most `MOST_MESSAGES`, those without a sender to answer left
    out.
    """
    found: list[Message] = []
    for _ in range(MOST_MESSAGES):
        try:
            text, rights, _, address = here.recvmsg(LONGEST, socket.CMSG_SPACE(CREDENTIALS.size))
        except BlockingIOError:
            break
        message = parsed(text, rights, address)
        if message is not None:
            found.append(message)
    return found


def parsed(
    text: bytes, rights: list[tuple[int, int, bytes]], address: bytes | None
) -> Message | None:
    """Return one message; None when it is not whole, or its sender has no address or no
    credentials.
    """
    sender = [
        data
        for level, kind, data in rights
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    if len(text) < HEAD.size or not sender or not address:
        return None
    _, kind = HEAD.unpack_from(text)
    pid, uid, _ = CREDENTIALS.unpack(sender[0][: CREDENTIALS.size])
    whole = len(text) >= HEAD.size + REQUEST.size
    what = REQUEST.unpack_from(text, HEAD.size)[0] if whole else 0
    return Message(kind.rstrip(b"\0").decode("ascii", "replace"), pid, uid, address, what)


def answer(here: socket.socket, to: Message, payload: bytes) -> bool:
    """Send it; False when the process is gone."""
    try:
        here.sendto(HEAD.pack(len(payload), to.kind.encode()) + payload, to.address)
    except OSError:
        return False
    return True


def order(path: Path, seconds: float, *, stacks: bool) -> bytes:
    """The text that asks for one trace, from now on, into `path` (Kineto puts `_PID` before its
    suffix).
    """
    wanted = {
        "ACTIVITIES_LOG_FILE": path,
        "PROFILE_START_TIME": 0,
        "ACTIVITIES_DURATION_MSECS": round(seconds * 1e3),
        "PROFILE_REPORT_INPUT_SHAPES": "true",
        "PROFILE_PROFILE_MEMORY": "true",
        "PROFILE_WITH_STACK": "true" if stacks else "false",
    }
    return "".join(f"{name}={value}\n" for name, value in wanted.items()).encode()
