"""The connection to the agent: who listens is checked, frames go out, heartbeats and orders come
in.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

LEASE_S = 5.0
PENDING_LIMIT_BYTES = 8 << 20
CONNECTS_WITHIN_S = 20


class Line:
    """The connection to the agent: frames out, heartbeats in; never blocks, drops and counts when
    full.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pending = bytearray()
        self.dropped = 0
        self.heard_s = time.monotonic()
        self.open = True
        self.told_to_leave = False
        # windows of the profiler: from which step on, how many events at most, was all closed at
        # the end of the last (0, 1)
        self.asked: list[tuple[int, int, int]] = []

    def add(self, kind: bytes, payload: bytes, records: int = 0) -> None:
        """Queue a frame for the next push: each system call lets go of the interpreter and has to
        get it back.
        """
        if len(self.pending) + len(payload) > PENDING_LIMIT_BYTES:
            self.dropped += max(records, 1)
            return
        self.pending += struct.pack("<cI", kind, len(payload)) + payload

    def add_notes(self, notes: list[dict[str, Any]]) -> None:
        """Queue small messages."""
        self.add(b"J", encoded(notes))

    def send_notes(self, notes: list[dict[str, Any]]) -> None:
        """Queue small messages and send what can be sent now."""
        self.add_notes(notes)
        self.push()

    def push(self) -> None:
        try:
            while self.pending:
                sent = self.connection.send(self.pending)
                del self.pending[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False

    def listen(self) -> None:
        try:
            heard = self.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        self.open = self.open and (
            bool(heard) or self.told_to_leave
        )  # at the program's end we close our own ear
        self.told_to_leave = self.told_to_leave or b"L" in heard
        for order in heard.split(b"W")[1:]:
            at, events, closed = order.partition(b";")[0].split(b",")
            self.asked.append((int(at), int(events), int(closed)))
        self.heard_s = time.monotonic()

    def hand_over(self, note: dict[str, Any], file: int) -> bool:
        """Send a note together with an open file (-1: none), which is closed here. False while the
        line is full.
        """
        if self.pending and self.open:
            return False
        payload = encoded([note | {"file": file >= 0}])
        frame = struct.pack("<cI", b"J", len(payload)) + payload
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file))] if file >= 0 else []
        )
        try:
            self.pending += frame[self.connection.sendmsg([frame], rights) :]
        except BlockingIOError:
            return False
        except OSError:
            self.open = False
        if file >= 0:
            os.close(file)
        return True

    def alive(self) -> bool:
        return self.open and not self.told_to_leave and time.monotonic() - self.heard_s < LEASE_S


def connect(config: dict[str, Any]) -> socket.socket:
    """Call the agent. Raises OSError when nobody listens, or somebody else does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A blocking connect waits for its turn when many others call; with a timeout of Python's it
    # would be refused at once.
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", CONNECTS_WITHIN_S, 0)
    )
    try:
        connection.connect("\0" + config["address"])
    except OSError:
        connection.close()
        raise
    if not is_listener(connection, config["listener"]):
        connection.close()
        raise PermissionError("another process has taken the agent's address")
    connection.setblocking(False)
    return connection


def is_listener(connection: socket.socket, expected: dict[str, int]) -> bool:
    """Return whether the process at the other end is the agent that our configuration came from."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    if (pid, uid) != (expected["pid"], expected["uid"]):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            start = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return True  # not visible from here: only the pid and the user are known
    return expected["start"] in (0, start)


def encoded(notes: list[dict[str, Any]]) -> bytes:
    """Return JSON; what is not valid Unicode (a path in another encoding) becomes question
    marks.
    """
    return json.dumps(notes, ensure_ascii=False).encode("utf-8", "replace")
