"""The confidence of a verdict where a part of the time is not explained."""

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from tests.analyzer.traced.gpu import Gpu


def busy_after(idle_us: float) -> Gpu:
    """Return a device whose first work starts `idle_us` after its launch, and which then always
    computes.
    """
    gpu = Gpu()
    for number in range(60):
        gpu.started(5 * number, idle_us + 1000 * number, 1000, f"kernel{number % 7}")
    return gpu


def test_the_time_before_the_first_work_is_not_recorded() -> None:
    soon, late = (diagnose_trace(busy_after(idle_us).trace()) for idle_us in (10, 40_000))
    assert (soon.verdict.id, late.verdict.id) == ("healthy", "healthy")
    shares = {row.phase: row.share for row in late.run_budget}
    assert shares["not-recorded"] == pytest.approx(0.4)
    assert soon.time_budget == late.time_budget


def test_a_trace_that_mostly_shows_no_work_of_its_device_is_not_healthy() -> None:
    verdict = diagnose_trace(busy_after(70_000).trace()).verdict
    assert (verdict.id, verdict.confidence) == ("unknown", 0.0)


def test_the_caveat_names_a_cuda_graph_whose_work_starts_late() -> None:
    with_graphs, plain = Gpu(), Gpu()
    for step in range(12):
        for gpu, kind in ((with_graphs, "graph"), (plain, "kernel")):
            gpu.started(1000 * step, 1000 * step + 10, 300)
            gpu.started(1000 * step + 20, 1000 * step + 800, 200, call_kind=kind)
    caveat = diagnose_trace(with_graphs.trace()).verdict.caveat or ""
    assert "100 %" in caveat and "CUDA graph" in caveat
    assert "CUDA graph" not in (diagnose_trace(plain.trace()).verdict.caveat or "")
