"""The agent's end of a probe's connection: it reads all that a probe sent before its end."""

import os
import socket
import struct
import time

from perfscope.agent.delivery.probe_connection import ProbeConnection, accept, listen
from perfscope.agent.delivery.probe_notes import ByeNote


def connected_pair() -> tuple[socket.socket, ProbeConnection]:
    """Return a probe's end and the agent's end of one connection."""
    listening, address = listen(os.getpid())
    with listening:
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        probe.connect("\0" + address)
        connections: list[ProbeConnection] = []
        until = time.monotonic() + 10
        while not connections and time.monotonic() < until:
            connections = accept(listening, {os.geteuid()})
        return probe, connections[0]


def test_the_last_notes_are_read_although_a_heartbeat_was_not_received() -> None:
    probe, connection = connected_pair()
    with probe:
        note = b'[{"note": "bye", "mono": 1, "real": 2}]'
        probe.sendall(struct.pack("<cI", b"J", len(note)) + note)
        probe.shutdown(socket.SHUT_RD)
        connection.send(b"H")
    notes, _ = connection.frames()
    assert notes == [ByeNote(mono=1, real=2)] and not connection.open
    connection.close()
