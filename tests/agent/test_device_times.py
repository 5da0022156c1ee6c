"""Calls of the host that are timed on the device as well.

The device is a stand-in with a clock of its own: torch's class of events reads when its queue will
be done. The rest is as in the probe.
"""

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from perfscope.agent.probe import accelerator, device_times, graph_captures, patches
from perfscope.agent.probe.accelerator import Accelerator, EventPool
from perfscope.agent.probe.device_times import COPY, EVERY_NS, LOADER_WAIT, DeviceTimer
from perfscope.agent.probe.guard import Guard

MS = 1_000_000
KIND = 16


class Device:
    """The time now, and when the queue of the device is done, in ms."""

    def __init__(self) -> None:
        self.now = self.done = 0.0
        self.capturing = self.broken = False
        self.stream = 0

    def launch(self, ms: float) -> None:
        self.done = max(self.done, self.now) + ms

    def torch(self) -> Any:
        """Return the parts of torch that the probe uses."""
        device = self

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                self.at = -1.0

            def record(self) -> None:
                if device.broken:
                    raise RuntimeError("an illegal memory access was encountered")
                assert not device.capturing
                self.at = max(device.now, device.done)

            def query(self) -> bool:
                assert not device.capturing
                return device.now >= self.at

            def elapsed_time(self, other: "Event") -> float:
                return other.at - self.at

        cuda = SimpleNamespace(
            is_initialized=lambda: True,
            Event=Event,
            is_current_stream_capturing=lambda: device.capturing,
        )
        low_level = SimpleNamespace(
            _cuda_getDevice=lambda: 0,
            _cuda_getCurrentStream=lambda number: (device.stream, number, 1),
            _cuda_hasPrimaryContext=lambda number: number == 0,
        )
        version = SimpleNamespace(cuda="13.0", hip=None)
        return SimpleNamespace(cuda=cuda, _C=low_level, version=version)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def timer(device: Device, monkeypatch: pytest.MonkeyPatch) -> DeviceTimer:
    modules = {"accelerator": accelerator, "graph_captures": graph_captures}
    monkeypatch.setattr(device_times, "MODULES", modules)
    failed: list[Any] = []
    probe: Any = SimpleNamespace(
        live=[1],
        clean_up=None,
        guard=Guard(failed.append),
        patches=patches.Patches(),
        shared={},
        undo=[],
        records=[],
        kinds={"DEVICE_TIME": KIND},
    )
    probe.wrap = partial(patches.wrap, probe)
    timer = device_times.timer_of(probe)
    assert timer.begin(LOADER_WAIT, 0) is None  # no device is in use yet
    timer.begin_timing(Accelerator(device.torch()))
    return timer


def wait(timer: DeviceTimer, device: Device, ms: float, what: int = LOADER_WAIT) -> None:
    """Let the host wait so long in a call that is timed."""
    first = round(device.now * MS)
    begun = timer.begin(what, first)
    device.now += ms
    if begun is not None:
        timer.end(what, begun, 7, first, round(ms * MS))


def elapsed_ms(timer: DeviceTimer) -> list[float]:
    return [record[5] / MS for record in timer.probe.records]


def test_a_wait_counts_as_idle_only_from_the_end_of_the_queue(
    timer: DeviceTimer, device: Device
) -> None:
    device.launch(50)
    wait(timer, device, 60)
    device.launch(100)
    wait(timer, device, 60)
    device.now += 100
    wait(timer, device, 10)
    assert elapsed_ms(timer) == [10, 0]
    assert timer.probe.records[0][:5] == (KIND, 7, 0, 60 * MS, LOADER_WAIT)


def test_a_device_that_has_not_reached_an_event_is_not_waited_for(
    timer: DeviceTimer, device: Device
) -> None:
    device.launch(10_000)
    for _ in range(20):
        wait(timer, device, 60)
    assert elapsed_ms(timer) == [] and len(timer.pending) == device_times.MOST_PENDING
    device.now += 10_000
    wait(timer, device, 60)
    assert elapsed_ms(timer) == [0] * device_times.MOST_PENDING


def test_calls_of_one_kind_are_timed_at_most_so_often(timer: DeviceTimer, device: Device) -> None:
    for _ in range(10):
        wait(timer, device, EVERY_NS / MS / 5)
        wait(timer, device, 0, COPY)
    device.now += EVERY_NS / MS
    wait(timer, device, 0)
    whats = [record[4] for record in timer.probe.records]
    assert whats.count(LOADER_WAIT) == whats.count(COPY) == 2


def test_nothing_is_recorded_or_read_while_a_graph_is_captured(
    timer: DeviceTimer, device: Device
) -> None:
    wait(timer, device, 60)
    device.capturing = True  # by a library: torch knows it of this stream only
    wait(timer, device, 60)
    timer.captures.count = 1  # on another thread
    device.capturing = False
    before = len(timer.pending)
    wait(timer, device, 60)
    assert len(timer.pending) == before and elapsed_ms(timer) in ([], [60])


def test_a_wait_on_another_stream_shows_nothing(timer: DeviceTimer, device: Device) -> None:
    begun = timer.begin(LOADER_WAIT, 0)
    device.stream = 5
    timer.end(LOADER_WAIT, begun, 7, 0, MS)
    assert not timer.pending and len(timer.pool.free) == 2


def test_an_error_of_the_device_is_not_raised_into_the_program(
    timer: DeviceTimer, device: Device
) -> None:
    device.broken = True
    wait(timer, device, 60)
    device.broken = False
    wait(timer, device, 60)
    assert not timer.pool.is_usable and not timer.pending


def test_no_event_creates_a_context_on_a_device_that_is_not_in_use(device: Device) -> None:
    torch = device.torch()
    torch._C._cuda_hasPrimaryContext = lambda number: False
    assert EventPool(Accelerator(torch)).take() is None


def test_events_outlive_the_probe_in_a_forked_child(device: Device) -> None:
    pool = EventPool(Accelerator(device.torch()))
    assert pool.take() is not None
    references = sys.getrefcount(pool.every)
    pool.pid += 1
    pool.release()
    in_child = sys.getrefcount(pool.every)
    pool.pid -= 1
    pool.release()
    in_parent = sys.getrefcount(pool.every)
    assert (in_child, in_parent) == (references, references - 1)


def test_the_device_in_use_is_the_one_that_torch_names() -> None:
    device = SimpleNamespace(type="npu")
    module = SimpleNamespace(is_initialized=lambda: True)
    torch: Any = SimpleNamespace(
        version=SimpleNamespace(cuda=None, hip=None),
        cuda=SimpleNamespace(is_initialized=lambda: False),
        accelerator=SimpleNamespace(current_accelerator=lambda: device),
        npu=module,
    )
    assert Accelerator(torch).kind() == "npu"
    module.is_initialized = lambda: False
    assert Accelerator(torch).kind() == ""
    device.type = "cuda"  # built with CUDA, not used yet
    assert Accelerator(torch).kind() == ""
