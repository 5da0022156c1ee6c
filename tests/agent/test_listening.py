"""Which sockets of a process accept connections."""

import os
import socket
from pathlib import Path

from perfscope.agent.host.listening_sockets import count_listening_sockets


def test_only_those_that_accept_are_counted(tmp_path: Path) -> None:
    before = count_listening_sockets(os.getpid())
    assert before is not None
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        with socket.create_connection(tcp.getsockname()):
            assert count_listening_sockets(os.getpid()) == before + 2
    assert count_listening_sockets(os.getpid()) == before


def test_a_process_that_has_ended_has_no_count() -> None:
    assert count_listening_sockets(1 << 30) is None
