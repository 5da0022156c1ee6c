"""Steps of programs that torch.compile made: as many as the program itself counts, although none of
its modules is touched. What is compiled again is recorded with the check that failed.
"""

import json
import sys
from pathlib import Path

import pytest

from perfscope.agent.probe.compiled_calls import mark_outermost_call
from perfscope.analyzer.run.loops.steps import steps
from perfscope.traces.load import load_trace
from tests.target_processes import attach, end, start

KINDS = (
    "model",
    "step",
    "inference",
    "in-place",
    "blocks",
    "shared-blocks",
    "trained-blocks",
)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_steps_are_counted(kind: str, tmp_path: Path) -> None:
    run = start("compiled.py", tmp_path, kind)
    try:
        attach(run.pid, tmp_path / "run", "--depth", "probe", seconds=6)
        clock = [int(line[0]) for line in run.lines()]
    finally:
        end(run)
    zero = json.loads((tmp_path / "run" / "manifest.json").read_text())["zero_monotonic_ns"]
    seen = load_trace(tmp_path / "run").fact(steps)
    begin, last = int(seen["ts"].min()) + zero, int((seen["ts"] + seen["dur"]).max()) + zero
    counted = sum(begin < at <= last for at in clock)
    assert counted >= 5 and abs(len(seen) - counted) <= 1


def test_a_compilation_has_its_function_its_number_and_the_failed_check(tmp_path: Path) -> None:
    run = start("recompiling.py", tmp_path)
    try:
        attach(run.pid, tmp_path / "run", "--depth", "probe", seconds=6)
    finally:
        end(run)
    trace = load_trace(tmp_path / "run")
    ranges = trace.table("ranges")
    compiled = ranges[ranges["category"] == "compilation"]
    [name] = compiled["name"].astype(str).unique()
    assert name.startswith("added (") and "recompiling.py:" in name
    earlier = compiled["value"].to_numpy()
    assert len(earlier) >= 2 and (earlier[1:] - earlier[:-1] == 1).all()
    assert set(compiled["label"].astype(str)[compiled["value"] > 0]) == {"len(parts)"}


@pytest.mark.parametrize("is_traced", [False, True])
def test_the_frames_of_a_traced_program_are_not_marked(is_traced: bool) -> None:
    def _call_impl() -> list[bool]:
        found = [mark_outermost_call(sys._getframe())[1] for _ in range(2)]
        return [*found, sys._getframe().f_trace_lines]

    before = sys.gettrace()
    sys.settrace((lambda *event: None) if is_traced else None)
    try:
        marked = _call_impl()
    finally:
        sys.settrace(before)
    assert marked == ([True, True, True] if is_traced else [True, False, False])
