"""What the host can cost a program on a device: at most the time in which the device is idle."""

import pytest

from perfscope.analyzer.budget.idle_time import within_idle_time
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.trace import Trace
from tests.analyzer.loop import Loop

CUDA = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}


def loop_with_waits(wait_ms: float, *, cuda: bool = True) -> Trace:
    """Return steps of 6 ms of work and a synchronizing call in which the device works."""
    loop = Loop()
    for _ in range(30):
        loop.work().call("sync", wait_ms)
    return loop.trace(manifest={"torch": {**CUDA, "cuda": cuda}})


def finding(share: float) -> Finding:
    """Return a finding about the host that takes this share of each step."""
    speedup = Speedup(1.1, 1.0 / (1.0 - share), 4.0)
    return Finding(
        "gc-pause", None, "warning", 10.0 * share, share, speedup, "", [], [], processes=[0]
    )


def test_a_loss_of_the_host_is_at_most_the_idle_time_of_the_device() -> None:
    found = within_idle_time(loop_with_waits(18), finding(0.5), LIMITS)
    assert found is not None and found.speedup is not None
    assert (found.share, found.lost_s) == (0.25, 2.5)
    assert found.speedup.likely == pytest.approx(4 / 3, abs=0.001)
    assert found.speedup.high == pytest.approx(4 / 3, abs=0.001)
    assert found.speedup.low == 1.1


def test_a_host_that_delays_no_device_costs_nothing() -> None:
    assert within_idle_time(loop_with_waits(600), finding(0.5), LIMITS) is None


def test_a_smaller_loss_stays_as_it_is() -> None:
    found = within_idle_time(loop_with_waits(18), finding(0.2), LIMITS)
    assert found is not None and (found.share, found.lost_s) == (0.2, 2.0)


def test_without_a_device_a_loss_stays_as_it_is() -> None:
    unchanged = finding(0.5)
    assert within_idle_time(loop_with_waits(18, cuda=False), unchanged, LIMITS) is unchanged
