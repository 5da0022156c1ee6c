"""`ps`, `top` and `attach` without a PID see a program and its loader workers as one process.

CPython 3.14 starts workers with a fork server, older versions by a fork.
"""

import sys
from pathlib import Path

import pytest

from perfscope.agent.host import proc
from perfscope.agent.job.candidates import find_candidates
from perfscope.agent.job.loader_workers import is_multiprocessing_helper, started_by
from perfscope.agent.live.live_sampler import LiveSampler
from tests.target_processes import TARGETS, killed_at_end, until

CHILD_PROCESSES = str(TARGETS / "child_processes.py")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loader_workers_are_counted_at_their_program(tmp_path: Path, method: str) -> None:
    with killed_at_end([sys.executable, CHILD_PROCESSES, "single", "2", method]) as target:
        assert target.stdout is not None and target.stdout.readline() == "ready\n"
        until(lambda: len(workers_of(target.pid)) == 2)
        hidden = {
            *workers_of(target.pid),
            *filter(is_multiprocessing_helper, started_by(target.pid)),
        }
        candidates = {candidate.pid: candidate for candidate in find_candidates()}
        assert candidates[target.pid].workers == 2 and not hidden & set(candidates)
        sampler = LiveSampler((target.pid,))
        try:
            shown = sampler.sample(0.2).processes
        finally:
            sampler.close()
    assert [(process.pid, process.workers) for process in shown] == [(target.pid, 2)]


def workers_of(pid: int) -> list[int]:
    """Return the loader workers below a process that have their name."""
    found = [(below, proc.stat(below)) for below in started_by(pid)]
    return [below for below, stat in found if stat is not None and stat.name == "pt_data_worker"]
