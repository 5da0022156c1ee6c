"""Verdicts on the whole recording, of which steps may be a part only."""

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Verdict
from tests.analyzer.loop import Loop

NS_PER_MS = 1_000_000


def training(steps: int, loop: Loop | None = None) -> Loop:
    """Add healthy training steps of 6.1 ms."""
    loop = loop or Loop()
    for _ in range(steps):
        loop.next(0.1, queue_depth=3).work()
    return loop


def verdict_of(loop: Loop, stack: str = "", begin_ms: float = 0.0, end_ms: float = 0.0) -> Verdict:
    """Return the verdict; a stack is sampled every 10 ms between two instants."""
    samples = [
        {"process": 0, "tid": 100, "ts": at * NS_PER_MS, "weight_ns": 10 * NS_PER_MS, "stack": text}
        for text, first, last in (("main (./a.py:1)", 0, 5), (stack, begin_ms + 10, end_ms))
        for at in range(round(first), round(last) + 1, 10)
        if text
    ]
    return diagnose_trace(loop.trace(stacks=samples)).verdict


def test_a_run_that_its_steps_fill_is_healthy() -> None:
    verdict = verdict_of(training(100))
    assert (verdict.id, verdict.kind, verdict.scope) == ("healthy", "healthy", "steps")
    assert verdict.confidence > 0.95


def test_much_unexplained_time_is_not_healthy() -> None:
    loop = training(100)
    begin_ms = loop.at / NS_PER_MS
    verdict = verdict_of(loop.idle(600), "run (package/module.py:3)", begin_ms, begin_ms + 600)
    assert (verdict.id, verdict.kind, verdict.scope) == ("unknown", "unknown", "run")
    assert "50 %" in verdict.headline


@pytest.mark.parametrize("below", ["", ";flush (logging/__init__.py:1087)"])
def test_a_line_of_the_program_that_takes_the_rest_is_the_verdict(below: str) -> None:
    loop = training(100)
    begin_ms = loop.at / NS_PER_MS
    verdict = verdict_of(loop.idle(600), f"main (./a.py:1){below}", begin_ms, begin_ms + 600)
    assert (verdict.id, verdict.kind) == ("host-code", "finding")
    assert verdict.where is not None and (verdict.where.file, verdict.where.line) == ("a.py", 1)


def test_the_phase_that_fills_the_rest_is_named() -> None:
    loop = training(100)
    begin_ms = loop.at / NS_PER_MS
    verdict = verdict_of(loop.call("compilation", 1000), "main (./a.py:1)", begin_ms, begin_ms)
    assert verdict.id == "unknown" and verdict.scope == "run"
    assert verdict.headline.startswith("Compilation") and verdict.caveat


def test_a_little_unexplained_time_lowers_the_confidence() -> None:
    whole = verdict_of(training(100))
    loop = training(100)
    begin_ms = loop.at / NS_PER_MS
    partly = verdict_of(loop.idle(50), "main (./a.py:2)", begin_ms, begin_ms + 50)
    assert partly.id == "healthy"
    assert partly.confidence == pytest.approx(whole.confidence * (1 - 44 / 660), abs=0.01)


@pytest.mark.parametrize(
    ("stack", "phase"),
    [
        ("main (./a.py:1);evaluate_model (./a.py:9)", "Validation"),
        ("main (./a.py:1);prepare_data (./a.py:9)", "Setting up data"),
        ("main (./a.py:1);barrier (torch/distributed/distributed_c10d.py:4)", "Waiting"),
        ("main (./a.py:1);_compile (torch/_dynamo/convert_frame.py:9)", "Compilation"),
    ],
)
def test_samples_outside_of_steps_show_the_phase(stack: str, phase: str) -> None:
    loop = training(100)
    begin_ms = loop.at / NS_PER_MS
    verdict = verdict_of(loop.idle(600), stack, begin_ms, begin_ms + 600)
    assert verdict.headline.startswith(phase)


def test_a_phase_that_repeats_and_costs_more_comes_before_a_finding_about_steps() -> None:
    loop = Loop()
    for epoch in range(4):
        loop.start(1, iterator=epoch)
        for _ in range(50):
            loop.next(2, iterator=epoch).work()
        loop.end(1, iterator=epoch).idle(600)
    verdict = verdict_of(loop.start(1, iterator=9).next(2, iterator=9).work())
    assert (verdict.id, verdict.scope) == ("unknown", "run")
    assert verdict.headline.startswith("Setting up data")


def test_a_finding_that_costs_more_stays_with_the_phase_in_its_caveat() -> None:
    loop = Loop()
    for epoch in range(4):
        loop.start(1, iterator=epoch)
        for _ in range(50):
            loop.next(20, iterator=epoch).work()
        loop.end(1, iterator=epoch).idle(300)
    verdict = verdict_of(loop.start(1, iterator=9).next(2, iterator=9).work())
    assert (verdict.id, verdict.scope) == ("input-bound", "steps")
    assert verdict.caveat and "setting up data" in verdict.caveat
