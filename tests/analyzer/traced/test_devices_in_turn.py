"""A model split over two devices of one process: each device waits for the other one."""

import pytest

from perfscope.analyzer.devices import devices_in_turn
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.trace import Trace
from tests.analyzer.outcomes import found, is_clear, not_checked
from tests.analyzer.traced.gpu import Gpu

STEPS, STEP_US = 12, 6_500.0


def split_model(*, at_once: bool = False, sync_halfway: bool = False, part: float = 1.0) -> Trace:
    """Return steps that compute for 3 ms on device 0 and `part` of 3 ms on device 1.

    The host launches everything at the beginning of a step and waits for the end. With
    `sync_halfway` it waits for the first half before it launches the second.
    """
    gpu = Gpu()
    for step in range(STEPS):
        begin, kernel = 1000.0 + step * STEP_US, 1000.0
        pieces = [(0, kernel), (1, part * kernel), (1, 2 * part * kernel), (0, 2 * kernel)]
        at = {0: begin + 20, 1: begin + 20}
        call = begin
        for number, (device, dur) in enumerate(pieces):
            starts = at[device] if at_once else max(at.values())
            if sync_halfway and number == 2:
                gpu.sync(call + 6, starts - call - 20)
                call = starts - 10
            gpu.device = device
            gpu.started(call, starts, dur)
            at[device] = starts + dur
            call += 10
        gpu.sync(call, max(at.values()) - call)
    return gpu.trace(manifest={"depth": "trace"})


def test_each_device_waits_for_the_other_one() -> None:
    trace = split_model()
    finding = found(devices_in_turn, trace)
    assert finding.share == pytest.approx(3.0 / 6.5, abs=0.03)
    assert finding.speedup is not None and finding.speedup.likely is None
    assert [action.id for action in finding.actions] == ["let-devices-work-at-once"]
    diagnosis = diagnose_trace(trace)
    assert diagnosis.verdict.id == "devices-in-turn"
    assert diagnosis.verdict.confidence > 0.7


def test_a_wait_of_the_host_for_one_device_does_not_make_the_other_one_idle() -> None:
    trace = split_model(sync_halfway=True)
    assert found(devices_in_turn, trace).share == pytest.approx(3.0 / 6.5, abs=0.05)
    waits = {finding.id: finding.share for finding in diagnose_trace(trace).findings}
    assert waits.get("host-sync", 0.0) < 0.1


def test_the_loss_is_that_of_the_device_that_waits_least() -> None:
    assert found(devices_in_turn, split_model(part=0.5)).share == pytest.approx(1.5 / 6.5, abs=0.03)


def test_devices_that_work_at_once_are_clear() -> None:
    assert is_clear(devices_in_turn, split_model(at_once=True))


def test_a_second_device_with_little_work_is_clear() -> None:
    assert is_clear(devices_in_turn, split_model(part=0.1))


def test_one_device_is_not_checked() -> None:
    trace = Gpu().op(0, 8).started(1, 20, 5000).trace(manifest={"depth": "trace"})
    assert not_checked(devices_in_turn, trace).group == "other"
