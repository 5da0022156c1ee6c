"""A verdict is only as sure as the explained part of the time is large."""

from perfscope.analyzer.diagnose import diagnose_trace
from tests.analyzer.traced.gpu import Gpu


def busy_after(idle_us: float) -> Gpu:
    """A device whose first work, launched at once, starts late, and which then computes without a
    gap.
    """
    gpu = Gpu()
    for number in range(60):
        gpu.started(5 * number, idle_us + 1000 * number, 1000, f"kernel{number % 7}")
    return gpu


def test_what_lies_before_the_first_work_makes_a_healthy_verdict_less_sure() -> None:
    sure, unsure = (diagnose_trace(busy_after(idle_us).trace()).verdict for idle_us in (10, 40_000))
    assert (sure.id, unsure.id) == ("healthy", "healthy")
    assert "first work" in (unsure.caveat or "") and "first work" not in (sure.caveat or "")
    assert 0.0 < unsure.confidence < 0.65 * sure.confidence


def test_time_before_what_a_graph_launched_is_said_to_be_a_graphs() -> None:
    gpu, plain = Gpu(), Gpu()
    for step in range(12):
        for one, kind in ((gpu, "graph"), (plain, "kernel")):
            one.started(1000 * step, 1000 * step + 10, 300)
            one.started(1000 * step + 20, 1000 * step + 800, 200, call_kind=kind)
    said, other = (diagnose_trace(one.trace()).verdict.caveat or "" for one in (gpu, plain))
    assert "for 100 % of that the next work is part of a CUDA graph" in said
    assert "waits for another stream or a peer" in other
