"""What the host can cost a program on a device: at most the time in which the device is idle."""

import pytest

from perfscope.analyzer.budget.idle_time import within_idle_time
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.findings import RULES
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop

CUDA = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}


def loop_with_waits(wait_ms: float, *, cuda: bool = True, counted: bool = True) -> Trace:
    """Return steps of 6 ms of work and a synchronizing call in which the device works.

    `counted`: the driver counts kernels in a fifth of the time.
    """
    loop = Loop()
    for _ in range(30):
        loop.work().call("sync", wait_ms)
    if not counted:
        return loop.trace(manifest={"torch": {**CUDA, "cuda": cuda}})
    placed = {"host": "host", "device": 0}
    trace = loop.trace(
        manifest={"torch": {**CUDA, "cuda": cuda}},
        device_counters=[
            {**placed, "ts": at, "name": "kernel_time_share", "value": 0.2}
            for at in range(0, loop.at, 10 * MS)
        ],
        device_processes=[{**placed, "process": 0, "pid": 100}],
    )
    trace.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    return trace


def limited(trace: Trace, given: Finding) -> Finding | None:
    return within_idle_time(trace, RULES[given.id], given, LIMITS)


def finding(share: float) -> Finding:
    """Return a finding about the host that takes this share of each step."""
    speedup = Speedup(1.1, 1.0 / (1.0 - share), 4.0)
    return Finding(
        "gc-pause", None, "warning", 10.0 * share, share, speedup, "", [], [], processes=[0]
    )


def test_a_loss_of_the_host_is_at_most_the_idle_time_of_the_device() -> None:
    found = limited(loop_with_waits(18), finding(0.5))
    assert found is not None and found.speedup is not None
    assert (found.share, found.lost_s) == (0.25, 2.5)
    assert found.speedup.likely == pytest.approx(4 / 3, abs=0.001)
    assert found.speedup.high == pytest.approx(4 / 3, abs=0.001)
    assert found.speedup.low == 1.1


def test_a_host_that_delays_no_device_costs_nothing() -> None:
    assert limited(loop_with_waits(600), finding(0.5)) is None


def test_a_smaller_loss_stays_as_it_is() -> None:
    found = limited(loop_with_waits(18), finding(0.2))
    assert found is not None and (found.share, found.lost_s) == (0.2, 2.0)


def test_a_loss_is_only_possible_where_nothing_shows_all_of_the_device_s_work() -> None:
    found = limited(loop_with_waits(18, counted=False), finding(0.5))
    assert found is not None and (found.severity, found.speedup, found.share) == (
        "info",
        None,
        0.25,
    )


def test_without_a_device_a_loss_stays_as_it_is() -> None:
    unchanged = finding(0.5)
    assert limited(loop_with_waits(18, cuda=False), unchanged) is unchanged
