"""Descriptors that a caller sends along: those that nobody will use are closed, whatever the caller
says about itself.
"""

import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Kernels, Nvtx, Probe
from perfscope.agent.collectors.probe import MALFORMED, Visit
from perfscope.agent.delivery.discarded import close_discarded, discarded
from perfscope.agent.delivery.probe_line import ProbeLine
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


@pytest.mark.parametrize("shown", ["no token", "the token"])
def test_nvtx_keeps_the_ring_of_a_caller_that_shows_the_token_and_nothing_else(
    job: Job, door: Door, shown: str
) -> None:
    collector = Nvtx(door)
    collector.start(job)
    before = open_files()
    first = {"file": True} | ({"token": door.token} if shown == "the token" else {})
    with call(door.address, [first, {"file": True}, {"file": True}], 3):
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
    with call(door.address, [{"hello": 1, "token": "wrong", "file": True}, {"file": True}], 2):
        until(lambda: collector.poll(0) and not collector.strangers and open_files() == before + 1)
    assert not collector.early and not collector.lines


def sent_to(collector: Probe, job: Job, notes: list[dict[str, Any]]) -> Callable[[], None]:
    """Give each note a memory file, as if a probe of the job had sent it; return what the collector
    does with them.
    """
    visit = collector.visits[1] = Visit(TARGET, job)
    for note in notes:
        note["file"] = os.memfd_create("sent")
    return lambda: collector.take(visit, notes, [])


ODD_NOTES: list[dict[str, Any]] = [
    {"stack": 1},
    {"code": 1, "kind": "stack", "name": "x"},
    {"updates": 1, "at": 2},
    {"torch": {}},
    {"refused": "x"},
    {"later": True, "refused": "x"},
]


@pytest.mark.parametrize("window", [None, Window()], ids=["depth probe", "depth kernels"])
def test_a_probe_cannot_fill_the_agent_with_descriptors_of_notes_that_are_no_windows(
    job: Job, door: Door, window: Window | None
) -> None:
    collector = Probe(window, door)
    collector.start(job)
    kernels = Kernels(collector)
    kernels.start(job)
    before = open_files()
    sent_to(collector, job, [dict(note) for note in ODD_NOTES])()
    if window is not None:
        for pid, visit in collector.visits.items():
            kernels.take(pid, visit)
        kernels.store.finish()
        if kernels.store.held is not None:
            kernels.store.held.close()
    assert open_files() == before


def test_notes_after_one_that_cannot_be_read_leave_no_descriptor(job: Job, door: Door) -> None:
    collector = Probe(Window(), door)
    collector.start(job)
    before = open_files()
    take = sent_to(collector, job, [{"dropped": "many"}, {"refused": "x"}, {}])
    with pytest.raises(MALFORMED):
        take()
    (window,) = collector.visits[1].windows
    os.close(window["file"])
    assert open_files() == before


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
