"""`validation-time`: its loss, its advice with preconditions, and the verdict."""

from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding
from tests.analyzer.loop import Loop

STEPS = 25
STEP_S = 0.007


def loop_with_validation(
    passes: int, *, load_ms: float = 8.0, workers: int = 0, batches: int = 20
) -> Loop:
    """Return a loop that evaluates some batches after every 25 steps of 7 ms."""
    loop = Loop()
    for number in range(passes):
        for _ in range(STEPS):
            loop.next(1).work()
        for _ in range(batches):
            batch: dict[str, Any] = {"iterator": 10 + number, "loader": 2, "workers": workers}
            at = loop.at
            loop.next(load_ms, **batch)
            if not workers:
                loop.tables.setdefault("fetches", []).append(
                    {
                        "process": 0,
                        "tid": 100,
                        "ts": at,
                        "dur": round(load_ms * 1e6),
                        "worker": -1,
                        "cpu_ns": 100_000,
                    }
                )
            loop.forward(2, training=0)
        loop.end(iterator=10 + number, loader=2)
    for _ in range(STEPS):
        loop.next(1).work()
    return loop


def found(loop: Loop) -> Finding:
    """Return the finding; there must be one."""
    answer = diagnose_trace(loop.trace())
    return next(finding for finding in answer.findings if finding.id == "validation-time")


def test_validation_is_lost_time_of_the_whole_recording() -> None:
    finding = found(loop_with_validation(4))
    assert finding.scope == "run"
    assert finding.lost_s == pytest.approx(4 * 0.201, rel=0.01)
    assert finding.share == pytest.approx(finding.share_of_run, abs=0.001)
    instants = [fact for fact in finding.evidence if fact.start_ns is not None]
    assert len(instants) == 3 and all(fact.value == pytest.approx(201, 0.01) for fact in instants)


def test_it_is_the_verdict_of_the_run() -> None:
    verdict = diagnose_trace(loop_with_validation(4).trace()).verdict
    assert (verdict.id, verdict.kind, verdict.scope) == ("validation-time", "finding", "run")
    assert verdict.confidence > 0.8


def test_the_prediction_keeps_steps_and_passes_as_long_as_they_are() -> None:
    action = found(loop_with_validation(4)).actions[0]
    assert action.id == "validate-less-often"
    prediction = action.predictions[0]
    assert prediction.metric == "steps_per_s"
    assert prediction.before == pytest.approx(25 / (0.175 + 0.201), rel=0.01)
    assert prediction.likely == pytest.approx(25 / (0.175 + 0.201 * 25 / 600), rel=0.02)
    assert prediction.high / prediction.low <= 1.5


def test_a_single_pass_does_not_show_how_often_it_runs() -> None:
    finding = found(loop_with_validation(1))
    assert "validate-less-often" not in {action.id for action in finding.actions}
    assert finding.caveat


def test_workers_are_advised_only_for_a_loader_without_them_that_waits() -> None:
    advice = "use-validation-loader-workers"
    assert advice in {action.id for action in found(loop_with_validation(4)).actions}
    with_workers = found(loop_with_validation(4, workers=2))
    assert advice not in {action.id for action in with_workers.actions}
    quick = found(loop_with_validation(4, load_ms=0.1))
    assert advice not in {action.id for action in quick.actions}


@pytest.mark.parametrize(("batches", "is_advised"), [(20, True), (1, False)])
def test_workers_do_not_load_ahead_in_passes_of_few_batches(batches: int, is_advised: bool) -> None:
    finding = found(loop_with_validation(8, batches=batches))
    advised = {action.id for action in finding.actions}
    assert ("use-validation-loader-workers" in advised) is is_advised


def test_short_validation_is_clear() -> None:
    loop = Loop()
    for iterator in range(10, 14):
        for _ in range(200):
            loop.next(1).work()
        loop.next(1, iterator=iterator, loader=2).forward(2, training=0)
        loop.end(iterator=iterator, loader=2)
    assert "validation-time" in diagnose_trace(loop.trace()).clear
