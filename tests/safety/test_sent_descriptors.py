"""Descriptors that a caller sends: unused ones are closed, regardless of what the caller sends with
them.
"""

import array
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Kernels, Nvtx, Probes
from perfscope.agent.delivery.discarded_descriptors import close_discarded, discarded
from perfscope.agent.delivery.probe_connection import ProbeConnection, accept
from perfscope.agent.delivery.probe_notes import (
    NvtxRingNote,
    WindowNote,
    WindowRefusedNote,
)
from perfscope.agent.delivery.probe_socket import ProbeSocket, open_probe_socket
from perfscope.agent.profiler_windows.window import Window
from perfscope.agent.recording.probe_session import ProbeSession
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from tests.build import FACTS
from tests.safety.other_user import TARGET
from tests.target_processes import until


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    run = RunWriter.create(tmp_path / "run", msgspec.convert(FACTS, Manifest))
    yield Job(run, os.getpid())
    run.close()


@pytest.fixture
def probe_socket() -> Iterator[ProbeSocket]:
    opened = open_probe_socket()
    with opened.listening:
        yield opened


def open_files() -> int:
    """Return how many descriptors this process has open after all discarded ones were closed."""
    close_discarded()
    return len(os.listdir("/proc/self/fd"))


def call(address: str, notes: list[dict[str, Any]], files: int) -> socket.socket:
    """Connect and send one frame of notes, and so many memory files with it."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    caller.connect("\0" + address)
    text = json.dumps(notes).encode()
    memory = os.memfd_create("sent")
    socket.send_fds(caller, [struct.pack("<cI", b"J", len(text)) + text], [memory] * files)
    os.close(memory)
    return caller


OTHER_RING = {"note": "nvtx-ring", "token": "", "has_file": True}


@pytest.mark.parametrize("shown", ["no token", "the token"])
def test_nvtx_keeps_the_ring_of_a_caller_that_shows_the_token_and_nothing_else(
    job: Job, probe_socket: ProbeSocket, shown: str
) -> None:
    collector = Nvtx(probe_socket)
    collector.start(job)
    before = open_files()
    token = probe_socket.token if shown == "the token" else "wrong"
    first = {"note": "nvtx-ring", "token": token, "has_file": True}
    with call(probe_socket.address, [first, OTHER_RING, OTHER_RING], 3):
        until(lambda: collector.poll(0) and (collector.connections or open_files() == before + 1))
        if shown == "the token":
            assert open_files() == before + 3, "both ends of the connection and one ring"
            collector.close(collector.connections[0])
        assert open_files() == before + 1, "the caller's own end"
    assert not collector.connections


def test_the_descriptors_of_a_refused_caller_are_closed(
    job: Job, probe_socket: ProbeSocket
) -> None:
    collector = Probes(Window(), probe_socket)
    collector.start(job)
    before = open_files()
    hello = {"note": "hello", "token": "wrong", "mono": 1, "real": 1, "has_file": True}
    with call(probe_socket.address, [hello, OTHER_RING], 2):
        until(
            lambda: collector.poll(0) and not collector.unidentified and open_files() == before + 1
        )
    assert not collector.pending and not collector.connections


FileNote: TypeAlias = NvtxRingNote | WindowNote | WindowRefusedNote
WINDOW = WindowNote(
    mono=1,
    real=1,
    first=1,
    begin=2,
    end=3,
    off=4,
    last=5,
    steps=1,
    whole=True,
    bytes=1,
    hurried=False,
    stall=None,
    gil=False,
    updates=1,
    device=False,
    prepare=1,
    enable=1,
)
NoteWithDescriptor: TypeAlias = NvtxRingNote | WindowRefusedNote | WindowNote
NOTES_WITH_FILES: list[NoteWithDescriptor] = [
    NvtxRingNote(token=""),
    WindowRefusedNote(reason="x"),
    WindowRefusedNote(reason="x", later=True),
    WINDOW,
]


@pytest.mark.parametrize("window", [None, Window()], ids=["depth probe", "depth kernels"])
@pytest.mark.parametrize("note", NOTES_WITH_FILES, ids=lambda note: type(note).__name__)
def test_a_probe_cannot_fill_the_agent_with_descriptors(
    job: Job, probe_socket: ProbeSocket, window: Window | None, note: NoteWithDescriptor
) -> None:
    collector = Probes(window, probe_socket)
    collector.start(job)
    kernels = Kernels(collector)
    kernels.start(job)
    before = open_files()
    session = collector.sessions[1] = ProbeSession(TARGET, job)
    note.descriptor = os.memfd_create("sent")
    collector.take(session, [note], array.array("q"))
    if window is not None:
        for pid, known in collector.sessions.items():
            kernels.take(pid, known)
        kernels.store.finish()
        if kernels.store.held is not None:
            kernels.store.held.close()
    assert open_files() == before


def test_a_frame_with_a_note_that_cannot_be_read_leaves_no_descriptor(
    probe_socket: ProbeSocket,
) -> None:
    before = open_files()
    refused = {"note": "window-refused", "reason": "x", "has_file": True}
    with call(probe_socket.address, [refused, {"note": "bye", "dropped": "many"}], 2):
        connections: list[ProbeConnection] = []
        until(
            lambda: (
                connections.extend(accept(probe_socket.listening, {os.geteuid()})) or connections
            )
        )
        until(lambda: connections[0].frames() == ([], array.array("q")) and connections[0].damaged)
        connections[0].close()
        assert open_files() == before + 1, "the caller's own end"


def test_the_descriptors_of_probes_that_are_refused_after_a_failure_are_closed(job: Job) -> None:
    before = open_files()
    collector = Probes(Window(), open_probe_socket())
    collector.start(job)
    with call(collector.socket.address, [], 2):
        until(lambda: collector.accept() or collector.unidentified)
        connection: ProbeConnection = collector.unidentified[0]
        until(lambda: connection.receive() or connection.files)
        collector.abandon()
        assert not discarded and not connection.open
        assert len(os.listdir("/proc/self/fd")) == before + 1, "the caller's own end"
