"""Children that are forked during a window and call nothing of perfscope."""

import subprocess
import sys
from pathlib import Path

from tests.target_processes import attach, source_reasons, source_statuses, until


def test_a_child_forked_in_a_window_records_nothing_and_its_profile_is_complete(
    tmp_path: Path,
) -> None:
    out = tmp_path / "children"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.safety.targets.forking_in_window", out],
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: out.exists(), 60)
        answer = attach(process.pid, tmp_path / "run", "--window", "seconds=3", seconds=6)
    finally:
        process.kill()
        process.wait()
    children = [[int(word) for word in line.split()] for line in out.read_text().splitlines()]
    forked_in_window = [child for child in children if child[0] > 0]
    assert source_statuses(answer)["kernels"] == "ok", source_reasons(answer)["kernels"]
    assert forked_in_window
    assert {tuple(child[1:]) for child in children} == {(0, 40)}
