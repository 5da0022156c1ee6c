"""The part of the dynolog daemon that orders a trace from Kineto: its messages and its socket.

A process started with KINETO_USE_DAEMON=1 sends a message every ten seconds to an abstract datagram
socket, whose name is `dynolog` and a zero byte. A message is {uint64 size of the payload; char
type[32]; payload}. `req` asks for a configuration, with {int32 what; int32 count; int64 job; int32
pids[count]}; the answer is text, empty for nothing to do. `ctxt` registers {int32 device; int32
pid; int64 job}; the answer is how many are registered. (Kineto's IPC fabric of torch 2.13.)
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
from perfscope.agent.delivery.peer_credentials import CREDENTIALS
from perfscope.agent.delivery.probe_connection import set_network
from perfscope.errors import CollectorUnavailable

NAME = b"\0dynolog\0"
HEAD = struct.Struct("<Q32s")
REQUEST = struct.Struct("<iiq")
BUSY = 1
LONGEST = 65536
POLL_S = 0.1
# Per poll. Any local process may send to the socket; the rest is read at the next poll.
MOST_MESSAGES = 256
# The process asks every ten seconds.
PATIENCE_S = 11.0
NAME_IS_TAKEN = (
    "another process (dynolog or another perfscope) listens for Kineto here: get the trace from it"
    " (`dyno gputrace`), or end it first"
)


@dataclass(frozen=True)
class KinetoMessage:
    """A message from a process; the kernel reports `pid` and `uid`, in our namespaces."""

    kind: str
    pid: int
    uid: int
    address: bytes
    what: int


def listen_as_daemon(pid: int) -> socket.socket:
    """Return a socket with the daemon's name in the network namespace of `pid`.

    Raises CollectorUnavailable with the reason.
    """
    agent_network = os.open("/proc/self/ns/net", os.O_RDONLY)
    target_network = None
    try:
        target_network = other_network(pid)
        if target_network is not None:
            set_network(target_network)
        try:
            return daemon_socket()
        finally:
            if target_network is not None:
                set_network(agent_network)
    except OSError as error:
        reason = (
            f"cannot open a socket for Kineto in the network namespace of pid {pid}:"
            f" {error.strerror}"
        )
        if error.errno == errno.EADDRINUSE:
            reason = NAME_IS_TAKEN
        raise CollectorUnavailable(reason) from None
    finally:
        os.close(agent_network)
        if target_network is not None:
            os.close(target_network)


def daemon_socket() -> socket.socket:
    """Return a socket with the daemon's name. Raises OSError."""
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        daemon.setblocking(False)
        daemon.bind(NAME)
    except OSError:
        daemon.close()
        raise
    return daemon


def other_network(pid: int) -> int | None:
    """Return the open network namespace of `pid`, None if it is ours or may not be opened."""
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return None
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    except PermissionError:
        return None


class MessageReceiver:
    """Receives on a thread of its own, because closing a descriptor that came along can block."""

    def __init__(self, daemon: socket.socket) -> None:
        self.daemon = daemon
        self.messages: deque[KinetoMessage] = deque(maxlen=MOST_MESSAGES)
        self.stopped = False
        self.thread = GuardedThread(target=self.receive, name="perfscope-dynolog", daemon=True)
        self.thread.start()

    def take(self) -> list[KinetoMessage]:
        """Return what has arrived since the last call. Raises StepFailed if the thread failed."""
        self.thread.raise_failure()
        return [self.messages.popleft() for _ in range(len(self.messages))]

    def stop(self) -> None:
        """Stop receiving; the name is free when the thread has ended, normally within POLL_S."""
        self.stopped = True
        self.thread.join(10 * POLL_S)

    def receive(self) -> None:
        """Receive until `stop` is called."""
        while not self.stopped:
            if select.select([self.daemon], [], [], POLL_S)[0]:
                self.messages.extend(receive_messages(self.daemon))


def receive_messages(daemon: socket.socket) -> list[KinetoMessage]:
    """Return the messages that have arrived, at most MOST_MESSAGES.

    Those without a sender to answer are left out.
    """
    found: list[KinetoMessage] = []
    for _ in range(MOST_MESSAGES):
        try:
            size = socket.CMSG_SPACE(CREDENTIALS.size)
            text, ancillary, _, address = daemon.recvmsg(LONGEST, size)
        except BlockingIOError:
            break
        message = parse_message(text, ancillary, address)
        if message is not None:
            found.append(message)
    return found


def parse_message(
    text: bytes, ancillary: list[tuple[int, int, bytes]], address: bytes | None
) -> KinetoMessage | None:
    """Return one message, None if it is incomplete or its sender has no address or credentials."""
    credentials_kind = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    credentials = [data for level, kind, data in ancillary if (level, kind) == credentials_kind]
    if len(text) < HEAD.size or not credentials or not address:
        return None
    _, padded_kind = HEAD.unpack_from(text)
    message_kind = padded_kind.rstrip(b"\0").decode("ascii", "replace")
    pid, uid, _ = CREDENTIALS.unpack(credentials[0][: CREDENTIALS.size])
    what = 0
    if len(text) >= HEAD.size + REQUEST.size:
        what = REQUEST.unpack_from(text, HEAD.size)[0]
    return KinetoMessage(message_kind, pid, uid, address, what)


def send_answer(daemon: socket.socket, message: KinetoMessage, payload: bytes) -> bool:
    """Answer a message; return False if the process has exited."""
    head = HEAD.pack(len(payload), message.kind.encode())
    try:
        daemon.sendto(head + payload, message.address)
    except OSError:
        return False
    return True


def trace_order(path: Path, seconds: float, *, stacks: bool) -> bytes:
    """Return the text that orders one trace from now on; Kineto adds `_PID` to the file name."""
    wanted = {
        "ACTIVITIES_LOG_FILE": path,
        "PROFILE_START_TIME": 0,
        "ACTIVITIES_DURATION_MSECS": round(seconds * 1e3),
        "PROFILE_REPORT_INPUT_SHAPES": "true",
        "PROFILE_PROFILE_MEMORY": "true",
        "PROFILE_WITH_STACK": "true" if stacks else "false",
    }
    return "".join(f"{name}={value}\n" for name, value in wanted.items()).encode()
