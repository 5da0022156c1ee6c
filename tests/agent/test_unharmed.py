"""The safety contract: a process that perfscope attaches to runs as it would without perfscope.

No test depends on a quiet machine: each waits for the state that it needs, and times are compared
per step.
"""

import bisect
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.host import proc
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.errors import UnreadableRun
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.target_processes import (
    Run,
    attach,
    end,
    perfscope,
    source_reasons,
    source_statuses,
    start,
    until,
)

PATIENCE_S = 90.0
ROUNDING_S = 2e-6
"""The program writes its times with six digits."""


@pytest.fixture
def looping(tmp_path: Path) -> Iterator[Run]:
    run = start("looping.py", tmp_path)
    yield run
    end(run)


def test_repeated_attaching_leaves_nothing_and_changes_no_loss(tmp_path: Path) -> None:
    alone = start("looping.py", mkdir(tmp_path, "alone"), "--steps", "500", steps=500)
    alone.process.wait(30)
    run = start("looping.py", mkdir(tmp_path, "attached"))
    try:
        before = run.state()
        for number in range(3):
            answer = attach(run.pid, tmp_path / f"run{number}")
            assert answer["steps"]["count"] > 20
            assert source_statuses(answer)["probe"] == "ok"
        until(lambda: len(run.lines()) > 500)
        after = run.state()
        workers = proc.children(run.pid)
        assert workers
        until(lambda: not any(open_proc_files(pid) for pid in workers))
    finally:
        end(run)
    assert after == before
    assert [line[0] for line in run.lines()[:500]] == [line[0] for line in alone.lines()[:500]]


def until_entered(run: Run, before: dict[str, Any]) -> None:
    """Wait until the probe's patches are in the target."""
    until(lambda: run.state()["hooks"] != before["hooks"], PATIENCE_S)


def count_records(folder: Path) -> int:
    """Return how many rows of the loader a run folder that is being written has."""
    try:
        trace = load_trace(folder)
    except UnreadableRun:
        return 0
    return len(trace.table("loader")) if trace.has("loader") else 0


def open_proc_files(pid: int) -> list[str]:
    """Return the files of /proc that a loader worker has open: the probe opens them."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        # Workers pass batches on in files that they close meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return [link for link in found if link.startswith("/proc/")]


def mkdir(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_a_killed_agent_leaves_a_readable_run_and_a_clean_target(
    looping: Run, tmp_path: Path
) -> None:
    before = looping.state()
    chance = random.Random(7)
    for number in range(3):
        out = tmp_path / f"killed{number}"
        agent = subprocess.Popen(
            perfscope("attach", str(looping.pid), "--duration", "30", "--out", out)
        )
        until(lambda out=out: (out / "manifest.json").exists())
        time.sleep(chance.uniform(0.0, 3.0))
        agent.kill()
        agent.wait()
        load_trace(out)
    until(lambda: looping.state() == before, PATIENCE_S)


def test_a_stopped_agent_delays_no_process_and_its_probe_leaves(
    looping: Run, tmp_path: Path
) -> None:
    before = looping.state()
    command = perfscope("attach", str(looping.pid), "--duration", "20", "--out", tmp_path / "run")
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_entered(looping, before)
    agent.send_signal(signal.SIGSTOP)
    steps = len(looping.lines())
    until(lambda: len(looping.lines()) > steps + 100)
    until(lambda: looping.state() == before, PATIENCE_S)
    agent.kill()
    agent.wait()


def test_a_second_agent_is_refused_and_the_first_continues(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    command = perfscope(
        "attach", str(looping.pid), "--duration", "600", "--json", "--out", tmp_path / "first"
    )
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until_entered(looping, before)
    second = attach(looping.pid, tmp_path / "second", seconds=2)
    assert f"agent pid {first.pid}" in source_reasons(second)["probe"]
    first.send_signal(signal.SIGINT)
    answer = json.loads(first.communicate(timeout=PATIENCE_S)[0])
    assert first.returncode == 0
    assert source_statuses(answer)["probe"] == "ok"
    until(lambda: looping.state() == before, PATIENCE_S)


def test_a_target_that_is_killed_leaves_a_valid_run(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    command = perfscope(
        "attach", str(looping.pid), "--duration", "600", "--json", "--out", tmp_path / "run"
    )
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until_entered(looping, before)
    until(lambda: count_records(tmp_path / "run") > 300, PATIENCE_S)
    os.kill(looping.pid, signal.SIGKILL)
    _, err = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0, err
    trace = load_trace(tmp_path / "run")
    assert trace.manifests[0].end_reason == "the process ended"
    assert len(trace.table("loader")) > 50


@pytest.mark.parametrize("kind", ["map", "iterable", "spawn", "epochs", "persistent"])
def test_every_kind_of_loader_is_timed_as_the_program_times_itself(
    kind: str, tmp_path: Path
) -> None:
    run = start("looping.py", tmp_path, "--kind", kind)
    try:
        answer = attach(run.pid, tmp_path / "run", seconds=5)
        lines = run.lines()
    finally:
        end(run)
    trace = load_trace(tmp_path / "run")
    assert fetching_processes(trace) >= 2
    pairs = matched_steps(lines, trace)
    assert len(pairs) > 20
    assert all(recorded.wait_s <= logged.wait_s + ROUNDING_S for recorded, logged in pairs)
    wait_errors_s = [abs(recorded.wait_s - logged.wait_s) for recorded, logged in pairs]
    step_errors_s = [abs(recorded.whole_s - logged.whole_s) for recorded, logged in pairs]
    assert statistics.median(wait_errors_s) < 0.001
    assert statistics.median(step_errors_s) < 0.001
    budget = {entry["category"]: entry["share"] for entry in answer["time_budget"]}
    waited_s = sum(recorded.wait_s for recorded, _ in pairs)
    whole_s = sum(recorded.whole_s for recorded, _ in pairs)
    assert budget["input-wait"] == pytest.approx(waited_s / whole_s, abs=0.02)
    assert answer["steps"]["mean_ms"] == pytest.approx(1000 * whole_s / len(pairs), rel=0.02)


@dataclass(frozen=True)
class TimedStep:
    """The durations of one step, from one request for a batch to the next, in seconds."""

    wait_s: float
    whole_s: float


def matched_steps(lines: list[list[str]], trace: Trace) -> list[tuple[TimedStep, TimedStep]]:
    """Return (recorded, logged by the program) of each step that the diagnosis is about.

    The program reads its clock right before it requests a batch and right after it has the batch:
    the logged wait includes the recorded wait.
    """
    ended = [float(line[3]) for line in lines]
    began = [end_s - float(line[2]) for end_s, line in zip(ended, lines, strict=True)]
    zero_s = trace.manifests[0].zero_monotonic_ns / 1e9
    loader = trace.table("loader")
    requested, waits = loader["ts"].to_numpy(), loader["dur"].to_numpy()
    rows = trace.fact(steady_budget)
    pairs: dict[int, tuple[TimedStep, TimedStep]] = {}
    for begin, dur in zip(rows["ts"].tolist(), rows["dur"].tolist(), strict=True):
        step = bisect.bisect_right(began, begin / 1e9 + zero_s + ROUNDING_S) - 1
        if 0 <= step < len(lines) - 1 and step not in pairs:
            waited_ns = waits[(requested >= begin) & (requested < begin + dur)].sum()
            recorded = TimedStep(waited_ns / 1e9, dur / 1e9)
            logged = TimedStep(float(lines[step][1]), began[step + 1] - began[step])
            pairs[step] = recorded, logged
    return list(pairs.values())


def fetching_processes(trace: Trace) -> int:
    fetches = trace.table("fetches")
    return 0 if fetches is None else fetches["process"].nunique()


def test_in_process_loading_is_timed(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path, "--workers", "0")
    try:
        attach(run.pid, tmp_path / "run")
    finally:
        end(run)
    fetches = load_trace(tmp_path / "run").table("fetches")
    assert (fetches["worker"] == -1).all() and len(fetches) > 20
    assert (fetches["dataset_ns"] + fetches["collate_ns"] == fetches["dur"]).all()
