"""Questions about a single socket to the kernel's socket diagnosis (netlink, linux/sock_diag.h)."""

import socket
import struct
from typing import Final

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
HEADER: Final = struct.Struct("=IHHII")
NO_COOKIE: Final = 0xFFFFFFFF
TIMEOUT_S: Final = 0.2


def answer_about_socket(question: bytes) -> bytes | None:
    """Return the kernel's message about the socket that a question describes, None without one.

    Both are without the header of netlink.
    """
    size = HEADER.size + len(question)
    header = HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as diagnosis:
            diagnosis.settimeout(TIMEOUT_S)
            diagnosis.send(header + question)
            reply = diagnosis.recv(4096)
    except OSError:
        return None
    if len(reply) < HEADER.size or HEADER.unpack_from(reply)[1] != SOCK_DIAG_BY_FAMILY:
        return None
    return reply[HEADER.size :]
