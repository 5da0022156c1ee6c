"""A verdict is only as sure as the explained part of the time is large."""

from perfscope.analyzer.engine import diagnose
from tests.analyzer.device.gpu import Gpu


def busy_after(idle_us: float) -> Gpu:
    """A device whose first work, launched at once, starts late, and which then computes without a gap."""
    gpu = Gpu()
    for number in range(60):
        gpu.started(5 * number, idle_us + 1000 * number, 1000, f"kernel{number % 7}")
    return gpu


def test_what_lies_before_the_first_work_makes_a_healthy_verdict_less_sure() -> None:
    sure, unsure = (diagnose(busy_after(idle_us).trace()).verdict for idle_us in (10, 40_000))
    assert (sure.id, unsure.id) == ("healthy", "healthy")
    assert "before the device's first work" in unsure.summary and "before the device's first work" not in sure.summary
    assert 0.0 < unsure.confidence < 0.65 * sure.confidence
