"""Closing descriptors that other processes sent, without waiting.

Closing the last reference to a socket with SO_LINGER and unsent data sleeps for as long as its
sender chose, and any connection may bring a descriptor of such a socket. A process that exits does
not wait, so a short-lived child gets the last reference.
"""

import os
import socket
from collections.abc import Sequence

from perfscope.agent.delivery.probe_notes import Note, NoteWithFile

discarded: list[int] = []
"""Descriptors that the next `close_discarded` closes."""


def discard(file: int | socket.socket) -> None:
    """Close a descriptor or socket at the next `close_discarded`; do not use it afterwards."""
    discarded.append(file if isinstance(file, int) else file.detach())


def discard_files(notes: Sequence[Note]) -> None:
    """Discard the descriptors that came with notes which are not used."""
    for note in notes:
        if isinstance(note, NoteWithFile) and note.descriptor >= 0:
            discard(note.descriptor)
            note.descriptor = -1


def close_discarded() -> None:
    """Close what was discarded. Call it once per poll: it starts a process if there is anything.

    Raises OSError if no process can be started; the descriptors are then kept for the next call.
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
