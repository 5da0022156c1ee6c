"""The agent's end of a probe's connection: a listening socket in the target's network namespace,
and the frames that arrive.
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

import msgspec

from perfscope.agent.delivery.discarded_descriptors import close_discarded, discard
from perfscope.agent.delivery.peer_credentials import Peer, is_memory_file, peer_of
from perfscope.agent.delivery.probe_notes import DECODER, Note, NoteWithFile
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run_folder.events import WIDTH

HEADER = struct.Struct("<cI")
# A probe keeps at most 8 MB of unsent data.
LONGEST_FRAME_BYTES = 9 << 20
LARGEST_BUFFER_BYTES = LONGEST_FRAME_BYTES + HEADER.size
MOST_BYTES_PER_POLL = 8 << 20
LARGEST_READ_BYTES = 1 << 20
FIRST_BYTES = 16 << 10
# The kernel passes at most this many with one message. With less room it would close the others
# while we wait.
MOST_FILES = 253
MOST_FILES_WAITING = 16
CLONE_NEWNET = 0x40000000
BACKLOG = 256
BATCH_CONNECTIONS, MOST_BATCHES_PER_POLL = 100, 10
# Connections of trusted users that have not sent their token yet.
MOST_UNAUTHENTICATED = 512


def listen(pid: int) -> tuple[socket.socket, str]:
    """Return a listening socket that `pid` can reach, and its name.

    Raises CollectorUnavailable with the reason.
    """
    address = f"perfscope-{os.getpid()}-{secrets.token_hex(8)}"
    target_path, agent_path = f"/proc/{pid}/ns/net", "/proc/self/ns/net"
    try:
        if os.stat(target_path).st_ino == os.stat(agent_path).st_ino:
            return bound(address), address
        agent_network = os.open(agent_path, os.O_RDONLY)
        target_network = os.open(target_path, os.O_RDONLY)
        try:
            set_network(target_network)
            try:
                return bound(address), address
            finally:
                set_network(agent_network)
        finally:
            os.close(agent_network)
            os.close(target_network)
    except OSError as error:
        raise CollectorUnavailable(
            f"cannot open a socket in the network namespace of pid {pid}: {error.strerror}"
        ) from None


def bound(address: str) -> socket.socket:
    """Return a non-blocking socket that listens on the abstract name `address`."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind("\0" + address)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def set_network(namespace: int) -> None:
    """Move the calling thread into an open network namespace. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass
class ProbeConnection:
    """The connection of one probe; `peer` is the process at the other end, as the kernel reports.

    At most `FIRST_BYTES` are read until `trusted` is set, which the owner does once it has seen
    the token.
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

    def send(self, message: bytes) -> None:
        """Send a message if that is possible now.

        A failure does not close the connection: the probe may have sent its last notes before it
        stopped reading.
        """
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def frames(self) -> tuple[list[Note], "array.array[int]"]:
        """Return the notes and records that have arrived; records are flat rows of events.WIDTH.

        A frame that is too long or cannot be decoded closes this connection and sets `damaged`.
        """
        self.receive()
        notes: list[Note] = []
        records: array.array[int] = array.array("q")
        try:
            for kind, payload in self.whole_frames():
                if kind == b"R" and len(payload) % (8 * WIDTH) == 0:
                    records.frombytes(payload)
                elif kind == b"J":
                    notes += self.decode_notes(payload)
                else:
                    self.give_up()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.give_up()
        return notes, records

    def receive(self) -> None:
        """Read what has arrived, up to the limits of one poll."""
        limit = FIRST_BYTES
        if self.trusted:
            limit = min(len(self.buffer) + MOST_BYTES_PER_POLL, LARGEST_BUFFER_BYTES)
        while self.open and len(self.buffer) < limit:
            size = min(limit - len(self.buffer), LARGEST_READ_BYTES)
            try:
                arrived, files, _, _ = socket.recv_fds(self.connection, size, MOST_FILES)
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
        """Yield (kind, payload) of each whole frame, and remove it from the buffer."""
        position = 0
        while len(self.buffer) - position >= HEADER.size:
            kind, size = HEADER.unpack_from(self.buffer, position)
            if size > LONGEST_FRAME_BYTES:
                self.give_up()
                return
            begin = position + HEADER.size
            end = begin + size
            if len(self.buffer) < end:
                break
            yield kind, bytes(self.buffer[begin:end])
            position = end
        del self.buffer[:position]

    def give_up(self) -> None:
        """Stop reading a connection whose data cannot be decoded."""
        self.open, self.damaged = False, True
        self.buffer = bytearray()

    def decode_notes(self, payload: bytes) -> list[Note]:
        """Return the notes of one frame, with their descriptors. Raises MsgspecError."""
        notes = DECODER.decode(payload)
        for note in notes:
            if isinstance(note, NoteWithFile):
                note.descriptor = self.next_memory_file() if note.has_file else -1
        return notes

    def next_memory_file(self) -> int:
        """Return the next received descriptor; -1 if there is none or it is not a memory file."""
        if not self.files:
            return -1
        descriptor = self.files.pop(0)
        if is_memory_file(descriptor):
            return descriptor
        discard(descriptor)
        return -1

    def close(self) -> None:
        """Close the connection and the received descriptors that nobody took."""
        self.open = False
        while self.files:
            discard(self.files.pop())
        discard(self.connection)


def accept(
    listening: socket.socket, trusted: set[int], most: int = MOST_UNAUTHENTICATED
) -> list[ProbeConnection]:
    """Accept waiting connections of the users `trusted`, at most `most`; close others unread."""
    accepted: list[ProbeConnection] = []
    for _ in range(MOST_BATCHES_PER_POLL):
        connections = waiting_connections(listening)
        for connection in connections:
            peer = peer_of(connection)
            if peer.uid in trusted and len(accepted) < most:
                connection.setblocking(False)
                accepted.append(ProbeConnection(connection, peer))
            else:
                discard(connection)
        close_discarded()
        if len(connections) < BATCH_CONNECTIONS:
            break
    return accepted


def waiting_connections(listening: socket.socket) -> list[socket.socket]:
    """Accept one batch of waiting connections; stop early while too many files are open."""
    connections: list[socket.socket] = []
    while len(connections) < BATCH_CONNECTIONS:
        try:
            connections.append(listening.accept()[0])
        except OSError:
            break
    return connections
