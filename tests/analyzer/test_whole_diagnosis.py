"""The whole diagnosis: verdict, bound_by, confidence, and what could not be checked."""

from typing import Any

import msgspec
import pytest

from perfscope.analyzer import check_findings as engine
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.verdict.judge import losses_first
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.claims import budget_shares
from tests.analyzer.loop import MS, Loop, trace_of_two_ranks
from tests.analyzer.pipelines import counters, pipeline


def healthy(steps: int = 60) -> Trace:
    loop = Loop()
    for _ in range(steps):
        loop.next(0.1, queue_depth=3).work()
    return loop.trace()


def test_a_healthy_run_is_bound_by_compute() -> None:
    result = diagnose_trace(healthy())
    assert result.verdict.id == "healthy"
    # without a profiling window, compute and host cannot be separated
    assert budget_shares(result) == {"compute-or-host": 0.98, "input-wait": 0.02}
    assert result.verdict.confidence == 0.99
    assert result.bound_by.id == "compute"
    assert result.bound_by.share == round(6 / 6.1, 4)
    assert result.findings == []
    assert set(result.clear) == {
        "input-bound",
        "checkpoint-stall",
        "gc-pause",
        "validation-time",
        "recompilation",
        "explicit-call",
    }
    assert result.steps.count == 58
    assert result.steps.mean_ms == 6.1


def test_the_verdict_of_a_loop_that_mostly_sleeps_is_unknown() -> None:
    loop = Loop()
    for _ in range(60):
        loop.next(0.1, queue_depth=3).forward(2).idle(20).backward(3).optimizer(1)
    result = diagnose_trace(loop.sampled("thread_states", 1, state="sleep").trace())
    assert budget_shares(result)["other-idle"] == 0.77
    assert result.verdict.id == "unknown" and result.verdict.confidence == 0.0
    assert "77 %" in result.verdict.headline and "26.1 ms" in result.verdict.explanation


def test_the_largest_loss_is_the_verdict() -> None:
    loop = Loop()
    for _ in range(60):
        loop.next(4, workers=0).work().call("checkpoint", 2, value=1)
    result = diagnose_trace(loop.trace())
    assert [finding.id for finding in result.findings] == ["input-bound", "checkpoint-stall"]
    assert result.verdict.id == "input-bound"
    assert result.verdict.cause == "in-process-loading"
    assert result.bound_by.id == "compute"
    assert result.verdict.confidence > 0.9


def test_a_run_that_mostly_waits_for_data_is_bound_by_input() -> None:
    result = diagnose_trace(pipeline(wait=30, fetch={"wall": 80, "cpu": 1}))
    assert result.bound_by.id == "input"
    assert [entry.category for entry in result.time_budget] == ["input-wait", "compute-or-host"]


def test_a_second_finding_of_equal_cost_lowers_confidence_and_is_named() -> None:
    loop = Loop()
    for index in range(60):
        late = 4 if index % 2 else 0
        loop.next(4.1 if late else 0.1, workers=0).work().call("gc", 0.1 if late else 4, object=2)
    result = diagnose_trace(loop.trace())
    first, second = result.findings
    assert second.lost_s == pytest.approx(first.lost_s, rel=0.1)
    assert result.verdict.caveat is not None
    assert second.id in result.verdict.caveat.lower().replace(" ", "-")
    assert result.verdict.confidence < 0.95


def test_few_steps_lower_confidence() -> None:
    loop = Loop()
    for _ in range(9):
        loop.next(4, workers=0).work()
    result = diagnose_trace(loop.trace())
    assert result.verdict.id == "input-bound"
    assert result.verdict.confidence < 0.7


def test_too_few_steps_are_unknown_and_advise_a_longer_recording() -> None:
    loop = Loop()
    for _ in range(5):
        loop.next(400).forward(500).backward(700).optimizer(300)
    result = diagnose_trace(loop.trace())
    assert result.verdict.id == "unknown"
    assert "3 steps in 9.5 s" in result.verdict.headline
    assert "1.9 s" in result.verdict.explanation
    assert "`--max-duration 48`" in result.verdict.explanation
    assert result.bound_by.id == "compute"


def test_an_empty_recording_is_unknown() -> None:
    result = diagnose_trace(build.trace())
    assert result.verdict.id == "unknown"
    assert result.bound_by.id == "unknown"
    assert result.time_budget == []
    assert result.failed == []
    assert len(result.not_checked) == len(engine.FINDINGS)


def test_a_rule_that_fails_does_not_prevent_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trace: Trace, limits: object) -> None:
        raise ZeroDivisionError("by hand")

    bad = Rule("bad", lambda trace, limits: None, broken, color="host-bound")
    monkeypatch.setattr(engine, "FINDINGS", (bad, *engine.FINDINGS))
    result = diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    assert [(item.id, item.error) for item in result.failed] == [
        ("bad", "ZeroDivisionError: by hand")
    ]
    assert result.verdict.id == "input-bound"


def test_a_rule_without_its_table_is_not_checked_for_the_reason_of_the_table() -> None:
    loop = Loop()
    for _ in range(30):
        loop.next().work()
    absent = "no right to read /proc/PID/syscall"
    trace = build.trace(**loop.tables, absent={"thread_states": absent})
    reasons = {item.id: item.reason for item in diagnose_trace(trace).not_checked}
    assert reasons["gil-contention"] == f"thread_states: {absent}"


def test_shares_sum_to_one_and_categories_are_known() -> None:
    result = diagnose_trace(pipeline(wait=7.3, fetch={"wall": 33, "cpu": 1}))
    assert sum(entry.share for entry in result.time_budget) == pytest.approx(1.0, abs=1e-12)
    assert {entry.category for entry in result.time_budget} <= set(CATEGORY_IDS)


def test_the_rank_that_loses_most_is_the_critical_rank() -> None:
    first, second = Loop(), Loop(process=1, tid=101)
    for _ in range(30):
        first.next(1).forward(2).backward(10).optimizer(1)
        second.next(8).forward(2).backward(3).optimizer(1)
    result = diagnose_trace(trace_of_two_ranks(first, second))
    assert result.budget_rank == 1
    assert result.verdict.id == "input-bound"
    assert [entry.rank for entry in result.per_process] == [0, 1]
    assert result.time_budget == result.per_process[1].time_budget


def seen_from_outside(states: list[str], stack: str | None = None, **more: Any) -> Trace:
    tables: dict[str, Any] = {
        "thread_states": [
            {"process": 0, "tid": 100, "ts": number * 50 * MS, "state": state}
            for number, state in enumerate(states)
        ],
        **more,
    }
    if stack is not None:
        tables["stacks"] = [
            {
                "process": 0,
                "tid": 100,
                "ts": number * 50 * MS,
                "weight_ns": 50 * MS,
                "stack": stack if number % 2 else "main (t.py:1)",
            }
            for number in range(len(states))
        ]
    return build.trace(
        manifest={"depth": "observe", "depth_reason": "no ptrace permission"}, **tables
    )


def test_states_seen_from_outside_give_a_budget_and_no_verdict() -> None:
    result = diagnose_trace(seen_from_outside(["running"] * 60 + ["poll"] * 40))
    assert {entry.category: round(entry.share, 3) for entry in result.time_budget} == {
        "compute-or-host": 0.6,
        "other-idle": 0.4,
    }
    assert result.verdict.id == "unknown"
    assert "no ptrace permission" in (result.verdict.caveat or "")
    assert result.bound_by.id == "compute"


def test_loader_stacks_seen_from_outside_are_input_bound_with_a_ceiling() -> None:
    stack = "main (train.py:3);__next__ (torch/utils/data/dataloader.py:700);get (queues.py:1)"
    result = diagnose_trace(seen_from_outside(["running", "poll"] * 50, stack))
    assert result.verdict.id == "input-bound"
    assert result.findings[0].share == 0.5
    assert result.findings[0].speedup is not None
    assert result.findings[0].speedup.high == 2.0
    assert result.findings[0].speedup.likely is None
    assert result.bound_by.id in ("input", "compute")


def test_the_main_thread_is_known_from_outside_without_its_id() -> None:
    rows = [
        {
            "process": 0,
            "tid": 140488728431488 + other,
            "ts": number * 50 * MS,
            "weight_ns": 50 * MS,
            "stack": stack,
        }
        for number in range(100)
        for other, stack in (
            (0, "main (t.py:1);__next__ (torch/utils/data/dataloader.py:1)"),
            (1, "Thread._bootstrap (t.py:1)"),
        )
    ]
    result = diagnose_trace(build.trace(manifest={"depth": "observe"}, stacks=rows))
    assert result.findings[0].share == 1.0
    assert result.verdict.id == "input-bound"
    assert "probe" in result.findings[0].actions[0].text
    # With the probe in the process and too few steps, the advice is another.
    inside = diagnose_trace(build.trace(manifest={"depth": "probe"}, stacks=rows))
    assert "probe" not in inside.findings[0].actions[0].text


def test_waiting_for_the_gil_is_found_from_outside() -> None:
    result = diagnose_trace(seen_from_outside(["gil", "running"] * 50))
    assert result.verdict.id == "gil-contention"
    assert result.findings[0].share == 0.5
    assert result.bound_by.id in ("host", "compute")


def test_throttling_is_found_from_outside() -> None:
    rows = counters(5_000 * MS, {(0, -1, "cpu_ns"): 0.5e9, (0, -1, "throttled_ns"): 0.7e9})
    manifest = {"usable_cores": {"cores": 0.5, "affinity": 4, "quota": 0.5}}
    states = Loop().idle(5_000).sampled("thread_states", 50, state="running").tables
    result = diagnose_trace(build.trace(manifest=manifest, counters=rows, **states))
    assert result.verdict.id == "cpu-throttled"
    assert result.bound_by.id == "host"


def test_a_diagnosis_survives_json() -> None:
    result = diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    text = msgspec.json.encode(result)
    assert msgspec.json.decode(text, type=Diagnosis) == result


def test_the_same_trace_gives_the_same_diagnosis() -> None:
    first = diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    assert diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1})) == first


def finding_of(id: str, share: float) -> Finding:
    return Finding(id, None, "critical", share, share, None, "", [], [])


def test_what_a_narrower_type_could_save_comes_after_large_losses() -> None:
    chance = finding_of("reduced-precision-unused", 0.5)
    large, small = finding_of("input-bound", 0.3), finding_of("input-bound", 0.1)
    assert losses_first([chance, large], LIMITS) == [large, chance]
    assert losses_first([chance, small], LIMITS) == [chance, small]
    assert losses_first([large, chance, finding_of("gc-pause", 0.25)], LIMITS)[-1] == chance


def test_a_verdict_that_rests_on_few_steps_has_a_caveat_with_their_number() -> None:
    rows = counters(5_000 * MS, {(0, -1, "cpu_ns"): 0.5e9, (0, -1, "throttled_ns"): 0.7e9})
    cores: dict[str, Any] = {"usable_cores": {"cores": 0.5, "affinity": 4, "quota": 0.5}}
    off = {
        "sources": [{"name": "probe", "status": "off", "reason": "asked for depth observe"}],
        "depth": "observe",
    }
    calls = Loop().forward().tables

    def caveat(facts: dict[str, Any], **tables: Any) -> str:
        trace = build.trace(manifest={**cores, **facts}, counters=rows, **tables)
        verdict = diagnose_trace(trace).verdict
        assert verdict.id == "cpu-throttled"
        return verdict.caveat or ""

    assert "step" in caveat({}, **calls)
    assert "step" not in caveat(off)
    few, enough = Loop(), Loop()
    for loop, count in ((few, 5), (enough, 40)):
        for _ in range(count):
            loop.next().work()
    assert "3 steady steps" in caveat({}, **few.tables)
    assert "steps" not in caveat({}, **enough.tables)


def test_a_profilers_trace_without_operators_is_diagnosed_from_its_ranges() -> None:
    ranges = [
        {"ts": 10 * MS * step, "dur": 9 * MS, "name": "load", "category": "annotation"}
        for step in range(40)
    ]
    waits = [
        {"ts": 10 * MS * step, "dur": 9 * MS, "kind": "next", "workers": 0} for step in range(40)
    ]
    result = diagnose_trace(build.trace(manifest={"depth": "trace"}, ranges=ranges, loader=waits))
    verdict = result.verdict
    assert (verdict.id, verdict.cause) == ("input-bound", "in-process-loading")
    assert result.failed == []
