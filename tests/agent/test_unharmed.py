"""The safety contract: what is attached to goes on as if nobody had been there.

No test depends on a quiet machine: each waits for what it assumes, and times are compared step by
step.
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
from tests.running import Run, attach, end, perfscope, start, until

PATIENCE_S = 90.0
ROUNDING_S = 2e-6
"""The program writes its times with six digits."""


@pytest.fixture
def looping(tmp_path: Path) -> Iterator[Run]:
    run = start("looping.py", tmp_path)
    yield run
    end(run)


def test_repeated_attaching_leaves_nothing_and_changes_no_loss(tmp_path: Path) -> None:
    alone = start("looping.py", tmp_path / mkdir(tmp_path, "alone"), "--steps", "500", steps=500)
    alone.process.wait(30)
    run = start("looping.py", mkdir(tmp_path, "attached"))
    try:
        before = run.state()
        for number in range(3):
            answer = attach(run.pid, tmp_path / f"run{number}")
            assert answer["steps"]["count"] > 20
            assert {source["name"]: source["status"] for source in answer["sources"]}[
                "probe"
            ] == "ok"
        until(lambda: len(run.lines()) > 500)
        after = run.state()
        workers = proc.children(run.pid)
        assert workers
        until(lambda: not any(meters_of(pid) for pid in workers))
    finally:
        end(run)
    assert after == before
    assert [line[0] for line in run.lines()[:500]] == [line[0] for line in alone.lines()[:500]]


def until_entered(run: Run, before: dict[str, Any]) -> None:
    """Wait until the probe's patches are in the target."""
    until(lambda: run.state()["hooks"] != before["hooks"], PATIENCE_S)


def records_in(folder: Path) -> int:
    """Rows of the loader in a run folder that is being written."""
    try:
        trace = load_trace(folder)
    except UnreadableRun:
        return 0
    return len(trace.table("loader")) if trace.has("loader") else 0


def meters_of(pid: int) -> list[str]:
    """What the probe reads of a loader worker that it can open."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(
            FileNotFoundError
        ):  # batches are handed over in files that come and go
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


def test_a_stopped_agent_stalls_nobody_and_its_probe_leaves(looping: Run, tmp_path: Path) -> None:
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


def test_a_second_agent_is_refused_politely_and_the_first_goes_on(
    looping: Run, tmp_path: Path
) -> None:
    before = looping.state()
    command = perfscope(
        "attach", str(looping.pid), "--duration", "600", "--json", "--out", tmp_path / "first"
    )
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until_entered(looping, before)
    second = attach(looping.pid, tmp_path / "second", seconds=2)
    reasons = {source["name"]: source["reason"] for source in second["sources"]}
    assert f"agent pid {first.pid}" in reasons["probe"]
    first.send_signal(signal.SIGINT)
    answer = json.loads(first.communicate(timeout=PATIENCE_S)[0])
    assert first.returncode == 0
    assert {each["name"]: each["status"] for each in answer["sources"]}["probe"] == "ok"
    until(lambda: looping.state() == before, PATIENCE_S)


def test_a_target_that_is_killed_leaves_a_valid_run(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    command = perfscope(
        "attach", str(looping.pid), "--duration", "600", "--json", "--out", tmp_path / "run"
    )
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until_entered(looping, before)
    until(lambda: records_in(tmp_path / "run") > 300, PATIENCE_S)
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
    assert all(ours.wait_s <= theirs.wait_s + ROUNDING_S for ours, theirs in pairs)
    assert statistics.median(abs(ours.wait_s - theirs.wait_s) for ours, theirs in pairs) < 0.001
    assert statistics.median(abs(ours.whole_s - theirs.whole_s) for ours, theirs in pairs) < 0.001
    budget = {entry["category"]: entry["share"] for entry in answer["time_budget"]}
    waited, whole = (
        sum(getattr(ours, name) for ours, _ in pairs) for name in ("wait_s", "whole_s")
    )
    assert budget["input-wait"] == pytest.approx(waited / whole, abs=0.02)
    assert answer["steps"]["mean_ms"] == pytest.approx(1000 * whole / len(pairs), rel=0.02)


@dataclass(frozen=True)
class TimedStep:
    """A step from one request for a batch to the next: how long it waited, and how long it was;
    seconds.
    """

    wait_s: float
    whole_s: float


def matched_steps(lines: list[list[str]], trace: Trace) -> list[tuple[TimedStep, TimedStep]]:
    """Return (ours, the program's own) of each step that the diagnosis is about.

    The program reads its clock right before it asks for a batch and right after it has it: it
    encloses what we time.
    """
    ended = [float(line[3]) for line in lines]
    began = [end_s - float(line[2]) for end_s, line in zip(ended, lines, strict=True)]
    zero_s = trace.manifests[0].zero_monotonic_ns / 1e9
    loader = trace.table("loader")
    asked, waits = loader["ts"].to_numpy(), loader["dur"].to_numpy()
    rows = trace.fact(steady_budget)
    pairs: dict[int, tuple[TimedStep, TimedStep]] = {}
    for begin, dur in zip(rows["ts"].tolist(), rows["dur"].tolist(), strict=True):
        step = bisect.bisect_right(began, begin / 1e9 + zero_s + ROUNDING_S) - 1
        if 0 <= step < len(lines) - 1 and step not in pairs:
            ours = TimedStep(waits[(asked >= begin) & (asked < begin + dur)].sum() / 1e9, dur / 1e9)
            pairs[step] = ours, TimedStep(float(lines[step][1]), began[step + 1] - began[step])
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
