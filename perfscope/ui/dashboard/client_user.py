"""The user at the other end of a TCP connection of this machine.

The kernel's socket diagnosis (netlink, `struct inet_diag_req_v2` and `struct inet_diag_msg` of
linux/inet_diag.h) finds a socket by its two addresses, whatever the number of sockets.
"""

import socket
import struct
from ipaddress import ip_address
from typing import Final

from perfscope.agent.host.socket_diagnosis import NO_COOKIE, answer_about_socket

ANY_STATE: Final = 0xFFFFFFFF
REQUEST: Final = struct.Struct("=BBBBI")
PORTS: Final = struct.Struct(">HH")
END_OF_ADDRESS: Final = struct.Struct("=III")
UID_AT: Final = 4 + 48 + 12
"""Of an answer: after four bytes, the two addresses, and three counters."""


def user_of_client(connection: socket.socket) -> int | None:
    """Return the uid that owns the other end of a connection, None for another machine or network
    namespace, and if the kernel does not say.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        asked = question(connection.getpeername(), connection.getsockname())
    except (OSError, ValueError):
        return None
    answer = answer_about_socket(asked)
    if answer is None or len(answer) < UID_AT + 4:
        return None
    return int.from_bytes(answer[UID_AT : UID_AT + 4], "little")


def question(client: tuple[str, int], server: tuple[str, int]) -> bytes:
    """Return the request for the TCP socket that connects `client` with `server`.

    Raises ValueError for what is not an IP address.
    """
    addresses = [ip_address(each[0].partition("%")[0]) for each in (client, server)]
    mapped = [getattr(each, "ipv4_mapped", None) for each in addresses]
    packed = [(inner or outer).packed for inner, outer in zip(mapped, addresses, strict=True)]
    family = socket.AF_INET if len(packed[0]) == 4 else socket.AF_INET6
    body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, ANY_STATE)
    body += PORTS.pack(client[1], server[1])
    body += b"".join(each.ljust(16, b"\0") for each in packed)
    return body + END_OF_ADDRESS.pack(0, NO_COOKIE, NO_COOKIE)
