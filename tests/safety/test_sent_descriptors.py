"""Descriptors that a caller sends along: those that nobody will use are closed, whatever the caller
says about itself.
"""

import array
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Kernels, Nvtx, Probe
from perfscope.agent.collectors.probe import Visit
from perfscope.agent.delivery.discarded import close_discarded, discarded
from perfscope.agent.delivery.probe_line import ProbeLine, accept
from perfscope.agent.delivery.probe_notes import (
    NoteWithFile,
    NvtxRingNote,
    WindowNote,
    WindowRefusedNote,
)
from perfscope.agent.delivery.probe_socket import Door, open_door
from perfscope.agent.profiler_windows.window import Window
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import Manifest
from tests.build import FACTS
from tests.running import until
from tests.safety.strangers import TARGET


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    run = RunWriter.create(tmp_path / "run", msgspec.convert(FACTS, Manifest))
    yield Job(run, os.getpid())
    run.close()


@pytest.fixture
def door() -> Iterator[Door]:
    opened = open_door()
    with opened.listening:
        yield opened


def open_files() -> int:
    """Return how many descriptors this process has open, once everything discarded is closed."""
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
    job: Job, door: Door, shown: str
) -> None:
    collector = Nvtx(door)
    collector.start(job)
    before = open_files()
    token = door.token if shown == "the token" else "wrong"
    first = {"note": "nvtx-ring", "token": token, "has_file": True}
    with call(door.address, [first, OTHER_RING, OTHER_RING], 3):
        until(lambda: collector.poll(0) and (collector.callers or open_files() == before + 1))
        if shown == "the token":
            assert open_files() == before + 3, "both ends of the connection and one ring"
            collector.let_go(collector.callers[0])
        assert open_files() == before + 1, "the caller's own end"
    assert not collector.callers


def test_a_caller_that_is_refused_leaves_no_descriptor_with_the_probes_collector(
    job: Job, door: Door
) -> None:
    collector = Probe(Window(), door)
    collector.start(job)
    before = open_files()
    hello = {"note": "hello", "token": "wrong", "mono": 1, "real": 1, "has_file": True}
    with call(door.address, [hello, OTHER_RING], 2):
        until(lambda: collector.poll(0) and not collector.strangers and open_files() == before + 1)
    assert not collector.early and not collector.lines


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
NOTES_WITH_FILES: list[NoteWithFile] = [
    NvtxRingNote(token=""),
    WindowRefusedNote(reason="x"),
    WindowRefusedNote(reason="x", later=True),
    WINDOW,
]


@pytest.mark.parametrize("window", [None, Window()], ids=["depth probe", "depth kernels"])
@pytest.mark.parametrize("note", NOTES_WITH_FILES, ids=lambda note: type(note).__name__)
def test_a_probe_cannot_fill_the_agent_with_descriptors(
    job: Job, door: Door, window: Window | None, note: NoteWithFile
) -> None:
    collector = Probe(window, door)
    collector.start(job)
    kernels = Kernels(collector)
    kernels.start(job)
    before = open_files()
    visit = collector.visits[1] = Visit(TARGET, job)
    note.descriptor = os.memfd_create("sent")
    notes: list[Any] = [note]
    collector.take(visit, notes, array.array("q"))
    if window is not None:
        for pid, known in collector.visits.items():
            kernels.take(pid, known)
        kernels.store.finish()
        if kernels.store.held is not None:
            kernels.store.held.close()
    assert open_files() == before


def test_a_frame_with_a_note_that_cannot_be_read_leaves_no_descriptor(door: Door) -> None:
    before = open_files()
    refused = {"note": "window-refused", "reason": "x", "has_file": True}
    with call(door.address, [refused, {"note": "bye", "dropped": "many"}], 2):
        lines: list[ProbeLine] = []
        until(lambda: lines.extend(accept(door.listening, {os.geteuid()})) or lines)
        until(lambda: lines[0].frames() == ([], array.array("q")) and lines[0].damaged)
        lines[0].close()
        assert open_files() == before + 1, "the caller's own end"


def test_probes_that_are_sent_away_after_a_failure_leave_no_descriptor(job: Job) -> None:
    before = open_files()
    collector = Probe(Window(), open_door())
    collector.start(job)
    with call(collector.socket.address, [], 2):
        until(lambda: collector.accept() or collector.strangers)
        line: ProbeLine = collector.strangers[0]
        until(lambda: line.receive() or line.files)
        collector.abandon()
        assert not discarded and not line.open
        assert len(os.listdir("/proc/self/fd")) == before + 1, "the caller's own end"
