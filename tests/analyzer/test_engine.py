"""The whole answer: verdict, bound_by, confidence, and what could not be looked for."""

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
from tests.analyzer.claims import claim
from tests.analyzer.loop import MS, Loop
from tests.analyzer.pipelines import counters, pipeline


def healthy(steps: int = 60) -> Trace:
    loop = Loop()
    for _ in range(steps):
        loop.next(0.1, queue_depth=3).work()
    return loop.trace()


def test_healthy_is_bound_by_compute() -> None:
    result = diagnose_trace(healthy())
    assert result.verdict.id == "healthy"
    assert "98 % compute or host" in claim(
        result.verdict
    )  # no window of the profiler tells one from the other
    assert result.verdict.confidence == 0.99
    assert result.bound_by.id == "compute"
    assert result.bound_by.share == round(6 / 6.1, 4)
    assert result.findings == []
    assert set(result.clear) == {"input-bound", "checkpoint-stall", "gc-pause"}
    assert result.steps.count == 58
    assert result.steps.mean_ms == 6.1


def test_a_loop_that_mostly_sleeps_is_not_called_healthy() -> None:
    loop = Loop()
    for _ in range(60):
        loop.next(0.1, queue_depth=3).forward(2).idle(20).backward(3).optimizer(1)
    result = diagnose_trace(loop.sampled("thread_states", 1, state="sleep").trace())
    assert {entry.category: round(entry.share, 1) for entry in result.time_budget}[
        "other-idle"
    ] == 0.8
    assert result.verdict.id == "unknown" and result.verdict.confidence == 0.0
    assert (
        "77 % of each step" in result.verdict.headline and "26.1 ms" in result.verdict.explanation
    )


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


def test_bound_by_input() -> None:
    result = diagnose_trace(pipeline(wait=30, fetch={"wall": 80, "cpu": 1}))
    assert result.bound_by.id == "input"
    assert [entry.category for entry in result.time_budget] == ["input-wait", "compute-or-host"]


def test_a_rival_that_costs_as_much_lowers_confidence_and_is_named() -> None:
    loop = Loop()
    for index in range(60):
        late = 4 if index % 2 else 0
        loop.next(4.1 if late else 0.1, workers=0).work().call("gc", 0.1 if late else 4, object=2)
    result = diagnose_trace(loop.trace())
    assert "costs about as much" in (result.verdict.caveat or "")
    assert result.verdict.confidence < 0.95


def test_few_steps_lower_confidence() -> None:
    loop = Loop()
    for _ in range(9):
        loop.next(4, workers=0).work()
    result = diagnose_trace(loop.trace())
    assert result.verdict.id == "input-bound"
    assert result.verdict.confidence < 0.7
    assert "few steps" in (result.verdict.caveat or "")


def test_too_few_steps_are_unknown_and_say_what_to_do() -> None:
    loop = Loop()
    for _ in range(5):
        loop.next(400).forward(500).backward(700).optimizer(300)
    result = diagnose_trace(loop.trace())
    assert result.verdict.id == "unknown"
    assert "3 steps in 9.5 s" in result.verdict.headline
    assert (
        "1.9 s" in result.verdict.explanation
        and "`--max-duration 48`" in result.verdict.explanation
    )
    assert result.bound_by.id == "compute"


def test_nothing_recorded_is_unknown() -> None:
    result = diagnose_trace(build.trace())
    assert result.verdict.id == "unknown"
    assert result.bound_by.id == "unknown"
    assert result.time_budget == []
    assert result.failed == []
    assert len(result.not_checked) == len(engine.FINDINGS)


def test_a_rule_that_breaks_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trace: Trace, limits: object) -> None:
        raise ZeroDivisionError("by hand")

    bad = Rule("bad", lambda trace, limits: None, broken)
    monkeypatch.setattr(engine, "FINDINGS", (bad, *engine.FINDINGS))
    result = diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    assert [(item.id, item.error) for item in result.failed] == [
        ("bad", "ZeroDivisionError: by hand")
    ]
    assert result.verdict.id == "input-bound"


def test_an_absent_table_is_told_with_its_reason() -> None:
    loop = Loop()
    for _ in range(30):
        loop.next().work()
    trace = build.trace(
        **loop.tables, absent={"thread_states": "no right to read /proc/PID/syscall"}
    )
    reasons = {item.id: item.reason for item in diagnose_trace(trace).not_checked}
    assert reasons["gil-contention"] == "thread_states: no right to read /proc/PID/syscall"


def test_shares_sum_to_one_and_categories_are_known() -> None:
    result = diagnose_trace(pipeline(wait=7.3, fetch={"wall": 33, "cpu": 1}))
    assert sum(entry.share for entry in result.time_budget) == pytest.approx(1.0, abs=1e-12)
    assert {entry.category for entry in result.time_budget} <= set(CATEGORY_IDS)


def test_the_rank_that_loses_is_the_critical_one() -> None:
    zero, one = Loop(), Loop(process=1, tid=101)
    for _ in range(30):
        zero.next(1).forward(2).backward(10).optimizer(1)
        one.next(8).forward(2).backward(3).optimizer(1)
    second = {**build.MAIN, "process": 1, "pid": 101, "ns_pid": 101, "rank": 1, "local_rank": 1}
    both = {name: zero.tables[name] + one.tables[name] for name in ("loader", "ranges")}
    result = diagnose_trace(build.trace(processes=[build.MAIN, second], **both))
    assert result.budget_rank == 1
    assert result.verdict.id == "input-bound"
    assert [entry.rank for entry in result.per_process] == [0, 1]
    assert result.time_budget == result.per_process[1].time_budget


def outside(states: list[str], stack: str | None = None, **more: Any) -> Trace:
    tables: dict[str, Any] = {
        "thread_states": [
            {"process": 0, "tid": 100, "ts": i * 50 * MS, "state": s} for i, s in enumerate(states)
        ],
        **more,
    }
    if stack is not None:
        tables["stacks"] = [
            {
                "process": 0,
                "tid": 100,
                "ts": i * 50 * MS,
                "weight_ns": 50 * MS,
                "stack": stack if i % 2 else "main (t.py:1)",
            }
            for i in range(len(states))
        ]
    return build.trace(
        manifest={"depth": "observe", "depth_reason": "no ptrace permission"}, **tables
    )


def test_from_outside_states_give_a_budget_and_no_verdict() -> None:
    result = diagnose_trace(outside(["running"] * 60 + ["poll"] * 40))
    assert {entry.category: round(entry.share, 3) for entry in result.time_budget} == {
        "compute-or-host": 0.6,
        "other-idle": 0.4,
    }
    assert result.verdict.id == "unknown"
    assert "no ptrace permission" in (result.verdict.caveat or "")
    assert result.bound_by.id == "compute"


def test_from_outside_stacks_in_the_loader_are_input_bound_with_a_ceiling() -> None:
    stack = "main (train.py:3);__next__ (torch/utils/data/dataloader.py:700);get (queues.py:1)"
    result = diagnose_trace(outside(["running", "poll"] * 50, stack))
    assert result.verdict.id == "input-bound"
    assert result.findings[0].share == 0.5
    assert result.findings[0].speedup is not None
    assert result.findings[0].speedup.high == 2.0
    assert result.findings[0].speedup.likely is None
    assert result.bound_by.id in ("input", "compute")


def test_from_outside_the_main_thread_is_known_without_its_id() -> None:
    rows = [
        {
            "process": 0,
            "tid": 140488728431488 + other,
            "ts": i * 50 * MS,
            "weight_ns": 50 * MS,
            "stack": stack,
        }
        for i in range(100)
        for other, stack in (
            (0, "main (t.py:1);__next__ (torch/utils/data/dataloader.py:1)"),
            (1, "Thread._bootstrap (t.py:1)"),
        )
    ]
    result = diagnose_trace(build.trace(manifest={"depth": "observe"}, stacks=rows))
    assert result.findings[0].share == 1.0
    assert result.verdict.id == "input-bound"
    assert (
        "is not visible from outside" in result.verdict.explanation
        and "at depth probe" in result.findings[0].actions[0].text
    )
    inside = diagnose_trace(
        build.trace(manifest={"depth": "probe"}, stacks=rows)
    )  # too few steps, but the probe was in
    assert (
        "in so few steps" in inside.verdict.explanation
        and "record more steps" in inside.findings[0].actions[0].text
    )


def test_from_outside_waiting_for_the_gil_is_found() -> None:
    result = diagnose_trace(outside(["gil", "running"] * 50))
    assert result.verdict.id == "gil-contention"
    assert result.findings[0].share == 0.5
    assert result.bound_by.id in ("host", "compute")


def test_from_outside_throttling_is_still_found() -> None:
    rows = counters(5_000 * MS, {(0, -1, "cpu_ns"): 0.5e9, (0, -1, "throttled_ns"): 0.7e9})
    manifest = {"usable_cores": {"cores": 0.5, "affinity": 4, "quota": 0.5}}
    states = [{"process": 0, "tid": 100, "ts": i * 50 * MS, "state": "running"} for i in range(100)]
    result = diagnose_trace(build.trace(manifest=manifest, counters=rows, thread_states=states))
    assert result.verdict.id == "cpu-throttled"
    assert result.bound_by.id == "host"


def test_the_answer_is_json_and_back() -> None:
    result = diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    text = msgspec.json.encode(result)
    assert msgspec.json.decode(text, type=Diagnosis) == result


def test_the_same_trace_gives_the_same_answer() -> None:
    first = diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    assert diagnose_trace(pipeline(wait=10, fetch={"wall": 40, "cpu": 1})) == first


def test_what_other_types_could_save_at_most_stands_behind_large_losses() -> None:
    def one(id: str, share: float) -> Finding:
        return Finding(id, None, "critical", share, share, None, "", [], [])

    chance = one("reduced-precision-unused", 0.5)
    large, small = one("input-bound", 0.3), one("input-bound", 0.1)
    assert losses_first([chance, large], LIMITS) == [large, chance]
    assert losses_first([chance, small], LIMITS) == [chance, small]
    assert losses_first([large, chance, one("gc-pause", 0.25)], LIMITS)[-1] == chance


def test_a_finding_that_rests_on_no_step_says_so() -> None:
    rows = counters(5_000 * MS, {(0, -1, "cpu_ns"): 0.5e9, (0, -1, "throttled_ns"): 0.7e9})
    cores: dict[str, Any] = {"usable_cores": {"cores": 0.5, "affinity": 4, "quota": 0.5}}
    off = {
        "sources": [{"name": "probe", "status": "off", "reason": "asked for depth observe"}],
        "depth": "observe",
    }
    calls = Loop().forward().tables

    def verdict(said: dict[str, Any], **tables: Any) -> str:
        told = diagnose_trace(
            build.trace(manifest={**cores, **said}, counters=rows, **tables)
        ).verdict
        assert told.id == "cpu-throttled"
        return told.caveat or ""

    assert verdict({}, **calls).endswith(
        "No complete step was recorded: this describes the recording as a whole."
    )
    assert "step" not in verdict(off)
    few, enough = Loop(), Loop()
    for loop, count in ((few, 5), (enough, 40)):
        for _ in range(count):
            loop.next().work()
    assert "Based on 3 steady steps" in verdict({}, **few.tables)
    assert "steady steps" not in verdict({}, **enough.tables)


def test_a_profilers_trace_of_ranges_alone_is_judged_by_its_ranges() -> None:
    ranges = [
        {"ts": 10 * MS * step, "dur": 9 * MS, "name": "load", "category": "annotation"}
        for step in range(40)
    ]
    waits = [
        {"ts": 10 * MS * step, "dur": 9 * MS, "kind": "next", "workers": 0} for step in range(40)
    ]
    result = diagnose_trace(build.trace(manifest={"depth": "trace"}, ranges=ranges, loader=waits))
    assert (result.verdict.id, result.verdict.cause, result.failed) == (
        "input-bound",
        "in-process-loading",
        [],
    )
