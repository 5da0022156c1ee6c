"""The user at the other end of a TCP connection of this machine.

The kernel's socket diagnosis (netlink, `struct inet_diag_req_v2` and `struct inet_diag_msg` of
linux/inet_diag.h) finds a socket by its two addresses, whatever the number of sockets.
"""

import socket
import struct
from ipaddress import ip_address
from typing import Final

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
ANY_STATE: Final = 0xFFFFFFFF
NO_COOKIE: Final = 0xFFFFFFFF
TIMEOUT_S: Final = 0.2
HEADER: Final = struct.Struct("=IHHII")
REQUEST: Final = struct.Struct("=BBBBI")
PORTS: Final = struct.Struct(">HH")
END_OF_ADDRESS: Final = struct.Struct("=III")
UID_AT: Final = HEADER.size + 4 + 48 + 12
"""Of an answer: after its header, four bytes, the two addresses, and three counters."""


def user_of_client(connection: socket.socket) -> int | None:
    """Return the uid that owns the other end of a connection, None for another machine or network
    namespace, and if the kernel does not say.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        client, server = connection.getpeername(), connection.getsockname()
        request = question(client, server)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as diagnosis:
            diagnosis.settimeout(TIMEOUT_S)
            diagnosis.send(request)
            reply = diagnosis.recv(4096)
    except (OSError, ValueError):
        return None
    if len(reply) < UID_AT + 4 or HEADER.unpack_from(reply)[1] != SOCK_DIAG_BY_FAMILY:
        return None
    return int.from_bytes(reply[UID_AT : UID_AT + 4], "little")


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
    body += END_OF_ADDRESS.pack(0, NO_COOKIE, NO_COOKIE)
    header = HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    return header + body
