"""The agent's end of the probes' connections: an abstract socket in the target's network namespace, and frames."""

import array
import contextlib
import ctypes
import os
import secrets
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perfscope.errors import CollectorUnavailable
from perfscope.traces.run.events import WIDTH

HEADER = struct.Struct("<cI")
LONGEST_FRAME_BYTES = 64 << 20
MOST_FILES = 4
CLONE_NEWNET = 0x40000000


def listen(pid: int) -> tuple[socket.socket, str]:
    """A listening socket that `pid` can reach, and its name. Raises CollectorUnavailable with the reason."""
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
        raise CollectorUnavailable(f"no socket in the network namespace of pid {pid}: {error.strerror}") from None


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
    """One probe's connection; `pid` is the kernel's word for who is at the other end."""

    connection: socket.socket
    pid: int
    buffer: bytearray = field(default_factory=bytearray)
    open: bool = True
    files: list[int] = field(default_factory=list)

    def send(self, word: bytes) -> None:
        """Say it if it can be said; a probe that hears no more may have sent its last, which is still to be read."""
        with contextlib.suppress(OSError):
            self.connection.send(word)

    def frames(self) -> tuple[list[dict[str, Any]], "array.array[int]"]:
        """What has arrived: (notes, records), records flat in rows of events.WIDTH."""
        while self.open:
            try:
                arrived, files, _, _ = socket.recv_fds(self.connection, 1 << 20, MOST_FILES)
            except BlockingIOError:
                break
            except OSError:
                arrived, files = b"", []
            self.files += files
            if not arrived:
                self.open = False
            self.buffer += arrived
        notes: list[dict[str, Any]] = []
        records: array.array[int] = array.array("q")
        while len(self.buffer) >= HEADER.size:
            kind, size = HEADER.unpack_from(self.buffer)
            if size > LONGEST_FRAME_BYTES:
                self.open = False
                self.buffer.clear()
                break
            if len(self.buffer) < HEADER.size + size:
                break
            payload = bytes(self.buffer[HEADER.size : HEADER.size + size])
            del self.buffer[: HEADER.size + size]
            if kind == b"R" and size % (8 * WIDTH) == 0:
                records.frombytes(payload)
            elif kind == b"J":
                notes += map(self.with_file, msgspec.json.decode(payload, type=list[dict[str, Any]]))
        return notes, records

    def with_file(self, note: dict[str, Any]) -> dict[str, Any]:
        """A note that says it comes with an open file: the file's number here, -1 for one without."""
        if "file" in note:
            note["file"] = self.files.pop(0) if note["file"] and self.files else -1
        return note

    def close(self) -> None:
        self.open = False
        while self.files:
            os.close(self.files.pop())
        self.connection.close()


def accept(listening: socket.socket) -> list[ProbeLine]:
    """The probes that have called since."""
    lines: list[ProbeLine] = []
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return lines
        connection.setblocking(False)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        lines.append(ProbeLine(connection, struct.unpack("3i", credentials)[0]))
