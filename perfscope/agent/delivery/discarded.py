"""Closes what strangers have sent us without waiting for it.

Closing the last reference to a socket with SO_LINGER and unsent data sleeps for as long as its
sender chose, and a descriptor of such a socket can be on its way to us in any connection. A process
that ends does not wait: so the last reference is left to a child that ends at once.
"""

import os
import socket
from typing import Any

discarded: list[int] = []
"""Descriptors that wait for `close_discarded`."""


def discard(file: int | socket.socket) -> None:
    """Have a descriptor or socket closed at the next `close_discarded`; it must not be used
    again.
    """
    discarded.append(file if isinstance(file, int) else file.detach())


def discard_files(notes: list[dict[str, Any]]) -> None:
    """Discard the descriptors that came with notes which nobody will use; the list is empty
    afterwards.
    """
    while notes:
        file = notes.pop().get("file", -1)
        if isinstance(file, int) and file >= 0:
            discard(file)


def close_discarded() -> None:
    """Close what was discarded. To be called once per poll: it starts a process when there is
    anything.

    Raises OSError when no process can be started; the descriptors are then kept for the next call.
    """
    if not discarded:
        return
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # until the parent has closed its own
        os._exit(0)
    for file in (*discarded, reading, writing):
        os.close(file)
    discarded.clear()
    os.waitpid(child, 0)
