"""The sockets of a network namespace, and which processes hold the other end of a socket or pipe.

Everything is read from /proc, except the peer of a Unix socket, which only the kernel's socket
diagnosis (netlink) knows.
"""

import os
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from perfscope.agent.host import proc
from perfscope.agent.host.socket_diagnosis import NO_COOKIE, answer_about_socket

TCP_LISTENS: Final = "0A"
UNIX_LISTENS: Final = 0x10000
UNIX_LINE: Final = re.compile(
    r"[0-9a-f]{8,16}: [0-9A-F]{8} [0-9A-F]{8} (?P<flags>[0-9A-F]{8}) [0-9A-F]{4} [0-9A-F]{2}"
    r" {1,12}(?P<inode>\d{1,19})(?: (?P<path>.*))?",
    re.DOTALL | re.ASCII,
)
"""Of /proc/net/unix: address, references, protocol, flags, type, state, inode, path."""
MOST_LINKS: Final = 20_000
"""Links of descriptors that one search reads, at about 2 us each."""
SHOW_PEER: Final = 4
PEER_ATTRIBUTE: Final = 2
UNIX_REQUEST: Final = struct.Struct("=BBHIIIII")
UNIX_REPLY_BYTES: Final = 16
ATTRIBUTE: Final = struct.Struct("=HH")
ACCESS_MODE: Final = 3


@dataclass(frozen=True)
class SocketEntry:
    """A socket: its inode, its own address (of a Unix socket the path) and that of its peer."""

    inode: int
    local: str
    remote: str
    listens: bool
    is_tcp: bool = True


@dataclass
class Sockets:
    """The sockets of the network namespace of a process, by inode."""

    entries: dict[int, SocketEntry] = field(default_factory=dict)

    def peer_inode(self, entry: SocketEntry) -> int | None:
        """Return the inode of the other end on this host, None for one elsewhere."""
        if not entry.is_tcp:
            return unix_peer(entry.inode)
        for other in self.entries.values():
            if other.is_tcp and (other.local, other.remote) == (entry.remote, entry.local):
                return other.inode or None
        return None


def read_sockets(pid: int) -> Sockets:
    """Return the TCP and Unix sockets in the network namespace of a process."""
    sockets = Sockets()
    for name in ("tcp", "tcp6"):
        for line in proc.kernel_lines(proc.read(f"/proc/{pid}/net/{name}"))[1:]:
            words = line.split()
            if len(words) > 9:
                addresses = address_text(words[1]), address_text(words[2])
                inode, listens = int(words[9]), words[3] == TCP_LISTENS
                sockets.entries[inode] = SocketEntry(inode, *addresses, listens)
    sockets.entries |= unix_sockets(proc.read(f"/proc/{pid}/net/unix"))
    return sockets


def unix_sockets(table: str | None) -> dict[int, SocketEntry]:
    """Return the sockets of /proc/net/unix by inode.

    The kernel writes their names as they are. A name of any user may contain newlines and what
    looks like further sockets: an inode that occurs twice is left out.
    """
    found: dict[int, SocketEntry] = {}
    repeated = set()
    for line in proc.kernel_lines(table)[1:]:
        match = UNIX_LINE.fullmatch(line)
        if match is None:
            continue
        inode = int(match["inode"])
        if inode in found:
            repeated.add(inode)
        listens = bool(int(match["flags"], 16) & UNIX_LISTENS)
        found[inode] = SocketEntry(inode, match["path"] or "", "", listens, is_tcp=False)
    return {inode: entry for inode, entry in found.items() if inode not in repeated}


def address_text(text: str) -> str:
    """Return `host:port` of an address in /proc/net/tcp or tcp6; IPv4 in IPv6 as IPv4."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16) for at in range(0, len(host), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    if len(packed) == 16 and packed[:12] == b"\0" * 10 + b"\xff\xff":
        packed = packed[12:]
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    shown = socket.inet_ntop(family, packed)
    return f"{shown}:{int(port, 16)}" if len(packed) == 4 else f"[{shown}]:{int(port, 16)}"


def unix_peer(inode: int) -> int | None:
    """Return the inode of the other end of a Unix socket of our network, None if unknown."""
    question = UNIX_REQUEST.pack(
        socket.AF_UNIX, 0, 0, NO_COOKIE, inode, SHOW_PEER, NO_COOKIE, NO_COOKIE
    )
    answer = answer_about_socket(question)
    return None if answer is None else peer_in_answer(answer)


def peer_in_answer(answer: bytes) -> int | None:
    """Return the peer that an answer of the socket diagnosis names, None if it names none."""
    at = UNIX_REPLY_BYTES
    while at + ATTRIBUTE.size <= len(answer):
        length, kind = ATTRIBUTE.unpack_from(answer, at)
        if kind == PEER_ATTRIBUTE and length >= ATTRIBUTE.size + 4 and at + length <= len(answer):
            return int.from_bytes(answer[at + ATTRIBUTE.size : at + length][:4], "little")
        if length < ATTRIBUTE.size:
            break
        at += (length + 3) & ~3
    return None


def holder_of(link: str, pids: Iterable[int], *, writing: bool | None = None) -> int | None:
    """Return the first of the processes that has `link` (`socket:[1]`, `pipe:[1]`) open, else None.

    writing: only an end that is open for writing (True) or for reading (False) counts.
    """
    left = MOST_LINKS
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        left -= len(descriptors)
        if left < 0:
            return None
        for name in descriptors:
            if link_of(pid, int(name)) == link and has_mode(pid, int(name), writing=writing):
                return pid
    return None


def link_of(pid: int, descriptor: int) -> str:
    """Return what a descriptor of a process refers to, "" if unknown; the file is not touched."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return ""


def has_mode(pid: int, descriptor: int, *, writing: bool | None) -> bool:
    """Return whether a descriptor is open for writing (or reading); any mode counts for None."""
    if writing is None:
        return True
    for line in proc.kernel_lines(proc.read(f"/proc/{pid}/fdinfo/{descriptor}")):
        if line.startswith("flags:"):
            mode = int(line.split()[1], 8) & ACCESS_MODE
            return mode == (os.O_WRONLY if writing else os.O_RDONLY) or mode == os.O_RDWR
    return False


def inode_of(link: str) -> int | None:
    """Return the inode in `socket:[1]` or `pipe:[1]`, None for another link."""
    kind, _, rest = link.partition(":[")
    number = rest.rstrip("]")
    return int(number) if kind in ("socket", "pipe") and number.isdecimal() else None
