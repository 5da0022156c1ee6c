"""`recompilation`: functions that are compiled repeatedly, and not only in the first steps."""

from typing import Any

import pytest

from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.host import recompilation
from tests.analyzer.loop import MS, Loop
from tests.analyzer.outcomes import found, is_clear

COMPILES = (
    "<module> (./train.py:40);main (./train.py:31);compile_wrapper (torch/_dynamo/eval_frame.py:1);"
    "__call__ (torch/_dynamo/convert_frame.py:2)"
)
STEPS_BACK = "<module> (./train.py:40);main (./train.py:32);_engine_run_backward (torch/autograd/"
BACKWARD = f"{STEPS_BACK}graph.py:8)"


def call(loop: Loop, compile_ms: float, rest_ms: float = 5, **columns: Any) -> Loop:
    """Add a call of compiled code that first compiles for a while, and the code after it."""
    code = columns.pop("code", 1)
    begun = loop.at
    if compile_ms:
        name = columns.pop("name", "compilation")
        loop.add("ranges", compile_ms, category="compilation", name=name, **columns)
    ended, loop.at = loop.at, begun
    loop.call("forward", (ended - begun) / MS + rest_ms, object=code, value=1)
    return loop.idle(20)


def compiling(calls: int, *, every: int = 1, **columns: Any) -> Loop:
    """Return a loop in which every n-th call compiles for 80 ms."""
    loop = Loop()
    for number in range(calls):
        call(loop, 80 if number % every == 0 else 0, **columns)
    return loop


def actions_of(finding: Finding) -> list[str]:
    return [action.id for action in finding.actions]


def test_compilations_throughout_the_recording_are_lost_time_of_the_run() -> None:
    finding = found(recompilation, compiling(30).trace())
    assert finding.scope == "run" and finding.processes == [0]
    assert finding.lost_s == pytest.approx(29 * 0.08)
    assert finding.share == pytest.approx(29 * 80 / (30 * 105 - 20), rel=0.01)
    assert finding.speedup is None
    assert actions_of(finding) == ["log-recompilations"]


def test_it_is_the_verdict_with_the_line_that_calls_the_compiled_code() -> None:
    loop = compiling(60)
    loop.sampled("outside_stacks", 100, weight_ns=100 * MS, stack=COMPILES)
    verdict = diagnose_trace(loop.trace()).verdict
    assert (verdict.id, verdict.kind, verdict.scope) == ("recompilation", "finding", "run")
    assert verdict.where is not None
    assert (verdict.where.file, verdict.where.line) == ("train.py", 31)


def test_the_first_compilations_pass_with_time() -> None:
    loop = Loop()
    for _size in range(8):  # eight sizes, each compiled at its first call
        call(loop, 400)
    for _ in range(200):
        call(loop, 0)
    assert is_clear(recompilation, loop.trace())
    assert is_clear(recompilation, compiling(5).trace())


def test_layers_that_are_compiled_one_by_one_are_each_compiled_once() -> None:
    loop = Loop()
    for layer in range(40):
        call(loop, 200, code=layer)
    assert is_clear(recompilation, loop.trace())


def test_a_function_that_is_passed_to_the_compiler_in_each_step_is_compiled_again() -> None:
    loop = Loop()
    for step in range(40):
        call(loop, 200, code=step, name="loss_of (./train.py:7)")
        loop.optimizer()
    finding = found(recompilation, loop.trace())
    assert "40 of 40 calls" in finding.explanation
    assert actions_of(finding) == ["compile-once"]


def test_compilations_that_only_samples_show_count_too() -> None:
    loop = Loop()
    for step in range(40):
        call(loop, 200, code=step)
        loop.optimizer()
    ranges = [row for row in loop.tables["ranges"] if row["category"] != "compilation"]
    stacks = [
        {"process": 0, "tid": 100, "ts": row["ts"] + at * MS, "weight_ns": 100 * MS}
        for row in ranges
        if row["category"] == "forward"
        for at in (50, 150)
    ]
    loop.tables["ranges"] = ranges
    trace = loop.trace(outside_stacks=[{**row, "stack": COMPILES} for row in stacks])
    finding = found(recompilation, trace)
    assert "40 of 40 calls" in finding.explanation
    assert finding.lost_s == pytest.approx(39 * 0.2, rel=0.01)


def test_calls_within_one_training_step_do_not_count_as_many_steps() -> None:
    loop = compiling(30)
    later = [{"process": 0, "tid": 100, "ts": loop.at, "weight_ns": MS, "stack": BACKWARD}]
    assert is_clear(recompilation, loop.trace(outside_stacks=later))
    between = [{**later[0], "ts": at * 400 * MS} for at in range(8)]
    assert found(recompilation, loop.trace(outside_stacks=between))


def test_a_function_that_was_compiled_more_often_than_torch_permits_needs_two_calls() -> None:
    loop = Loop()
    for earlier in (20, 21):
        call(loop, 4000, name="forward (./model.py:7)", object=0, value=earlier)
    finding = found(recompilation, loop.trace())
    assert finding.lost_s == pytest.approx(8.0)
    assert any("forward (./model.py:7)" in fact.text for fact in finding.evidence)
    for _ in range(500):
        call(loop, 0)
    assert is_clear(recompilation, loop.trace())


def test_a_raised_limit_counts_however_seldom_other_steps_are_seen() -> None:
    """While it compiles the program is not patched: the only update may be seen at the end."""
    loop = Loop()
    for number in range(20):
        call(loop, 80 + 20 * number, value=20 + number)
    loop.optimizer()
    assert found(recompilation, loop.trace()).share > 0.5


@pytest.mark.parametrize(
    ("guard", "action"),
    [
        ("tensor 'x' size mismatch at index 1", "mark-sizes-dynamic"),
        ("x.size()[0]", "mark-sizes-dynamic"),
        ("len(predicted)", "pass-one-tensor"),
        ("self.step", "pass-numbers-as-tensors"),
        ("___check_obj_id(loss_function", "create-objects-once"),
        ("GLOBAL_STATE changed: grad_mode", "log-recompilations"),
    ],
)
def test_the_advice_follows_the_check_that_failed(guard: str, action: str) -> None:
    finding = found(recompilation, compiling(30, label=guard).trace())
    assert actions_of(finding) == [action]


def test_a_program_that_compiles_is_not_advised_to_compile() -> None:
    ops = [{"process": 0, "tid": 100, "ts": 0, "dur": MS, "name": "aten::mm"}]
    assert compiled_code(Loop().trace(ops=ops), 0).is_eager
    assert not compiled_code(compiling(1).trace(ops=ops), 0).is_eager
    sample = {"process": 0, "tid": 100, "ts": 0, "weight_ns": MS}
    called = [{**sample, "stack": COMPILES.rpartition(";")[0]}]
    assert not compiled_code(Loop().trace(ops=ops, outside_stacks=called), 0).is_eager
    disabled = [{**sample, "stack": "main (./train.py:3);_fn (torch/_dynamo/eval_frame.py:9)"}]
    assert compiled_code(Loop().trace(ops=ops, outside_stacks=disabled), 0).is_eager
