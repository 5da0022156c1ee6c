"""The agent's end of a probe's connection: what a probe has sent is taken in, however it ends."""

import os
import socket
import struct
import time

from perfscope.agent.delivery.probe_line import ProbeLine, accept, listen
from perfscope.agent.delivery.probe_notes import ByeNote


def called() -> tuple[socket.socket, ProbeLine]:
    """A probe's end and the agent's end of one connection."""
    listening, address = listen(os.getpid())
    with listening:
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        probe.connect("\0" + address)
        lines: list[ProbeLine] = []
        until = time.monotonic() + 10
        while not lines and time.monotonic() < until:
            lines = accept(listening, {os.geteuid()})
        return probe, lines[0]


def test_the_last_word_is_read_although_a_heartbeat_met_a_closed_ear() -> None:
    probe, line = called()
    with probe:
        said = b'[{"note": "bye", "mono": 1, "real": 2}]'
        probe.sendall(struct.pack("<cI", b"J", len(said)) + said)
        probe.shutdown(socket.SHUT_RD)
        line.send(b"H")
    notes, _ = line.frames()
    assert notes == [ByeNote(mono=1, real=2)] and not line.open
    line.close()
