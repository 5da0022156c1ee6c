"""Steps of programs that torch.compile made: as many as the program itself counts, although none of
its modules is touched.
"""

import json
from pathlib import Path

import pytest

from perfscope.analyzer.run.steps import steps
from perfscope.traces.load import load_trace
from tests.running import attach, end, start


@pytest.mark.parametrize("kind", ["model", "step", "inference", "in-place"])
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
