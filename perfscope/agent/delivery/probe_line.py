"""The agent's end of the probes' connections: an abstract socket in the target's network namespace,
and frames.
"""

import array
import contextlib
import ctypes
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perfscope.agent.delivery.discarded import close_discarded, discard
from perfscope.agent.delivery.peers import Peer, is_memory_file, peer_of
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run.events import WIDTH

HEADER = struct.Struct("<cI")
LONGEST_FRAME_BYTES = 9 << 20
"""A probe holds back 8 MB at most."""
LARGEST_BUFFER_BYTES = LONGEST_FRAME_BYTES + HEADER.size
MOST_BYTES_PER_POLL = 8 << 20
FIRST_BYTES = 16 << 10
MOST_FILES = 253
"""As many as the kernel passes with one message: it would close the others while we wait."""
MOST_FILES_WAITING = 16
CLONE_NEWNET = 0x40000000
BATCH_CONNECTIONS, MOST_BATCHES_PER_POLL = 100, 10
MOST_UNAUTHENTICATED = 512
"""Callers of trusted users that have not shown their token yet."""


def listen(pid: int) -> tuple[socket.socket, str]:
    """A listening socket that `pid` can reach, and its name. Raises CollectorUnavailable with the
    reason.
    """
    address = f"perfscope-{os.getpid()}-{secrets.token_hex(8)}"
    theirs, ours = f"/proc/{pid}/ns/net", "/proc/self/ns/net"
    try:
        if os.stat(theirs).st_ino == os.stat(ours).st_ino:
            return bound(address), address
        home = os.open(ours, os.O_RDONLY)
        there = os.open(theirs, os.O_RDONLY)
        try:
            set_network(there)
            try:
                return bound(address), address
            finally:
                set_network(home)
        finally:
            os.close(home)
            os.close(there)
    except OSError as error:
        raise CollectorUnavailable(
            f"no socket in the network namespace of pid {pid}: {error.strerror}"
        ) from None


def bound(address: str) -> socket.socket:
    here = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here.bind("\0" + address)
    here.listen(256)
    here.setblocking(False)
    return here


def set_network(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass
class ProbeLine:
    """One probe's connection; `peer` is who the kernel says is at the other end.

    Until `trusted` is set, by whoever has seen its token, it is read up to `FIRST_BYTES` and no
    further.
    """

    connection: socket.socket
    peer: Peer
    buffer: bytearray = field(default_factory=bytearray)
    open: bool = True
    trusted: bool = False
    damaged: bool = False
    files: list[int] = field(default_factory=list)
    connected_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def pid(self) -> int:
        """The pid of the process at the other end."""
        return self.peer.pid

    def send(self, word: bytes) -> None:
        """Say it if it can be said; a probe that hears no more may have sent its last, which is
        still to be read.
        """
        with contextlib.suppress(OSError):
            self.connection.send(word)

    def frames(self) -> tuple[list[dict[str, Any]], "array.array[int]"]:
        """Return what has arrived: (notes, records), records flat in rows of events.WIDTH.

        A frame that is too long or cannot be decoded closes this connection and sets `damaged`.
        """
        self.receive()
        notes: list[dict[str, Any]] = []
        records: array.array[int] = array.array("q")
        try:
            for kind, payload in self.whole_frames():
                if kind == b"R" and len(payload) % (8 * WIDTH) == 0:
                    records.frombytes(payload)
                elif kind == b"J":
                    notes += map(
                        self.with_file, msgspec.json.decode(payload, type=list[dict[str, Any]])
                    )
                else:
                    self.give_up()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.give_up()
        return notes, records

    def receive(self) -> None:
        """Take in what the kernel holds for us, within the bounds of one poll."""
        until = (
            min(len(self.buffer) + MOST_BYTES_PER_POLL, LARGEST_BUFFER_BYTES)
            if self.trusted
            else FIRST_BYTES
        )
        while self.open and len(self.buffer) < until:
            try:
                room = min(until - len(self.buffer), 1 << 20)
                arrived, files, _, _ = socket.recv_fds(self.connection, room, MOST_FILES)
            except BlockingIOError:
                return
            except OSError:
                arrived, files = b"", []
            self.files += files
            if not arrived:
                self.open = False
            self.buffer += arrived
            if len(self.files) > MOST_FILES_WAITING:
                self.give_up()

    def whole_frames(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (kind, payload) of each whole frame and drop it from the buffer."""
        at = 0
        while len(self.buffer) - at >= HEADER.size:
            kind, size = HEADER.unpack_from(self.buffer, at)
            if size > LONGEST_FRAME_BYTES:
                self.give_up()
                return
            end = at + HEADER.size + size
            if len(self.buffer) < end:
                break
            yield kind, bytes(self.buffer[at + HEADER.size : end])
            at = end
        del self.buffer[:at]

    def give_up(self) -> None:
        """Stop reading a connection whose data cannot be decoded."""
        self.open, self.damaged = False, True
        self.buffer = bytearray()

    def with_file(self, note: dict[str, Any]) -> dict[str, Any]:
        """A note that says it comes with an open file: the file's number here, -1 for one without
        or of another kind.
        """
        if "file" in note:
            file = self.files.pop(0) if note["file"] and self.files else -1
            if file >= 0 and not is_memory_file(file):
                discard(file)
                file = -1
            note["file"] = file
        return note

    def close(self) -> None:
        self.open = False
        while self.files:
            discard(self.files.pop())
        discard(self.connection)


def accept(
    listening: socket.socket, trusted: set[int], most: int = MOST_UNAUTHENTICATED
) -> list[ProbeLine]:
    """Accept waiting connections of the users `trusted`, at most `most`; close the others
    unread.
    """
    lines: list[ProbeLine] = []
    for _ in range(MOST_BATCHES_PER_POLL):
        callers = waiting_connections(listening)
        for connection in callers:
            peer = peer_of(connection)
            if peer.uid in trusted and len(lines) < most:
                connection.setblocking(False)
                lines.append(ProbeLine(connection, peer))
            else:
                discard(connection)
        close_discarded()
        if len(callers) < BATCH_CONNECTIONS:
            break
    return lines


def waiting_connections(listening: socket.socket) -> list[socket.socket]:
    """Accept what waits, up to a batch; while too many files are open, nothing."""
    callers: list[socket.socket] = []
    while len(callers) < BATCH_CONNECTIONS:
        try:
            callers.append(listening.accept()[0])
        except OSError:
            break
    return callers
