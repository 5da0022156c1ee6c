"""The probe's end of the connection to the agent: frames go out, heartbeats and orders come in."""

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


class AgentLine:
    """The connection to the agent. It never blocks; what does not fit is dropped and counted."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pending = bytearray()
        self.dropped = 0
        self.heartbeat_s = time.monotonic()
        self.open = True
        self.must_leave = False
        # Requested profiling windows: (optimizer step to begin after, most events, 1 if nothing
        # was open at the end of the last window).
        self.window_orders: list[tuple[int, int, int]] = []

    def add(self, kind: bytes, payload: bytes, records: int = 0) -> None:
        """Queue a frame for the next `push`.

        Frames are sent together, because each system call releases the GIL and has to get it back.
        """
        if len(self.pending) + len(payload) > PENDING_LIMIT_BYTES:
            self.dropped += max(records, 1)
            return
        self.pending += struct.pack("<cI", kind, len(payload)) + payload

    def add_notes(self, notes: list[dict[str, Any]]) -> None:
        """Queue notes; `agent.delivery.probe_notes` lists their types."""
        self.add(b"J", encode_notes(notes))

    def send_notes(self, notes: list[dict[str, Any]]) -> None:
        """Queue notes and send what can be sent now."""
        self.add_notes(notes)
        self.push()

    def push(self) -> None:
        """Send as much of the queue as the socket takes now."""
        try:
            while self.pending:
                sent = self.connection.send(self.pending)
                del self.pending[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False

    def receive_orders(self) -> None:
        """Read what the agent has sent: heartbeats, window orders (W), the order to leave (L)."""
        try:
            received = self.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        # At the end of the program we shut down our receiving side; the connection is not lost.
        self.open = self.open and (bool(received) or self.must_leave)
        self.must_leave = self.must_leave or b"L" in received
        for order in received.split(b"W")[1:]:
            step, events, closed = order.partition(b";")[0].split(b",")
            self.window_orders.append((int(step), int(events), int(closed)))
        self.heartbeat_s = time.monotonic()

    def send_with_file(self, note: dict[str, Any], file: int) -> bool:
        """Send a note with an open file (-1: none), which is closed here.

        Returns False, and does nothing, while other data is still queued.
        """
        if self.pending and self.open:
            return False
        payload = encode_notes([{**note, "has_file": file >= 0}])
        frame = struct.pack("<cI", b"J", len(payload)) + payload
        ancillary = []
        if file >= 0:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file))]
        try:
            sent = self.connection.sendmsg([frame], ancillary)
            self.pending += frame[sent:]
        except BlockingIOError:
            return False
        except OSError:
            self.open = False
        if file >= 0:
            os.close(file)
        return True

    def refuse_windows(self, reason: str) -> None:
        """Refuse the windows that the agent has asked for, so that it does not wait for them."""
        note = {"note": "window-refused", "reason": reason, "for_good": True, "later": False}
        while self.window_orders and self.send_with_file(note, -1):
            del self.window_orders[0]

    def alive(self) -> bool:
        """Return whether the probe may stay: the agent is alive and has not sent it away."""
        has_lease = time.monotonic() - self.heartbeat_s < LEASE_S
        return self.open and not self.must_leave and has_lease


def connect(config: dict[str, Any]) -> socket.socket:
    """Connect to the agent. Raises OSError if nobody listens, or another process does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A blocking connect waits when many others connect at the same time. With a timeout set in
    # Python it would be refused at once.
    timeout = struct.pack("ll", CONNECTS_WITHIN_S, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
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
    """Return whether the process at the other end is the agent that sent our configuration."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    if (pid, uid) != (expected["pid"], expected["uid"]):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            after_name = file.read().rpartition(b")")[2]
        start = int(after_name.split()[19])
    except (OSError, ValueError, IndexError):
        return True  # not visible in this process: only the pid and the user are known
    return expected["start"] in (0, start)


def encode_notes(notes: list[dict[str, Any]]) -> bytes:
    """Return notes as JSON; what is not valid Unicode (some paths) becomes question marks."""
    return json.dumps(notes, ensure_ascii=False).encode("utf-8", "replace")
