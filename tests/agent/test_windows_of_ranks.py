"""The windows of the ranks of a job, which begin at the same step."""

import gzip
import json
import socket
from pathlib import Path

import pytest

from perfscope.agent.profiler_windows.agreed_step import RankUpdates, common_step
from tests.target_processes import attach, end, source_reasons, source_statuses, start


def test_ranks_take_their_windows_at_the_same_step(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = start("two_ranks.py", tmp_path, str(port))
    try:
        answer = attach(run.pid, tmp_path / "run", "--all-ranks", seconds=8)
    finally:
        end(run)
    assert source_statuses(answer)["kernels"] == "ok", source_reasons(answer)["kernels"]
    steps = []
    for trace in sorted((tmp_path / "run" / "kineto").glob("*.json.gz")):
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
        names = {event["name"] for event in events if event.get("cat") == "user_annotation"}
        steps.append({name for name in names if name.startswith("step ")})
    assert len(steps) == 2 and len(steps[0] & steps[1]) >= 5
    assert len(steps[0] ^ steps[1]) <= 2


def updates(
    offset: int, shift_ns: int, count: int = 40, period_ns: int = 10_000_000
) -> RankUpdates:
    """Return the updates of a rank, numbered from `offset`, each `shift_ns` late."""
    ends = [step * period_ns + (step * 7 % 3) * 1_000_000 + shift_ns for step in range(count)]
    return RankUpdates(ends, (offset + 10, ends[10]))


@pytest.mark.parametrize("shift_ns", [0, 1_500_000, -1_500_000])
def test_updates_are_matched_by_their_end(shift_ns: int) -> None:
    numbers = common_step([updates(0, 0), updates(-17, shift_ns), updates(1000, shift_ns)])
    assert numbers is not None
    first, second, third = numbers
    assert first > 39 + 100 and second == first - 17 and third == first + 1000


def test_ranks_that_do_not_run_in_step_have_no_common_step() -> None:
    assert common_step([updates(0, 0), updates(5, 0, period_ns=13_700_000)]) is None
    assert common_step([updates(0, 0), RankUpdates()]) is None
