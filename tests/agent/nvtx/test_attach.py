"""NVTX in a process that started without a tool and is then attached to."""

from pathlib import Path

import pytest

from perfscope.traces.load import load_trace
from tests.target_processes import attach, end, start, until


def test_python_calls_are_recorded_and_unpatched(tmp_path: Path) -> None:
    pytest.importorskip("nvtx")
    run = start("annotated.py", tmp_path)
    try:
        attach(run.pid, tmp_path / "run", "--depth", "probe", seconds=2)
        seen = len(run.lines())
        until(lambda: len(run.lines()) > seen + 2)
        lines = run.lines()
    finally:
        end(run)
    assert "True" in {line[1] for line in lines} and lines[-1][1] == "False"
    ranges = load_trace(tmp_path / "run").table("ranges")
    assert ranges is not None
    nvtx = ranges[ranges["category"] == "nvtx"]
    assert set(nvtx["name"]) == {"domain:part", "inner", "mark"}
    parts = nvtx[nvtx["name"] == "domain:part"]
    assert set(parts["label"]) == {"loading"} and parts["dur"].min() >= 5_000_000
    steps = parts["payload"].tolist()
    assert steps == [float(int(steps[0]) + index) for index in range(len(steps))]
    assert len(steps) > 5
