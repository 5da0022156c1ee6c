"""The safety contract: what is attached to goes on as if nobody had been there."""

import bisect
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.agent.host import proc
from perfscope.analyzer.facts.steps import steps
from perfscope.traces.load import load
from perfscope.traces.trace import Trace
from tests.running import Run, attach, end, perfscope, start, until


@pytest.fixture
def looping(tmp_path: Path) -> Iterator[Run]:
    run = start("looping.py", tmp_path)
    yield run
    end(run)


def test_attaching_again_and_again_leaves_nothing_and_changes_no_loss(tmp_path: Path) -> None:
    alone = start("looping.py", tmp_path / mkdir(tmp_path, "alone"), "--steps", "500", steps=500)
    alone.process.wait(30)
    run = start("looping.py", mkdir(tmp_path, "attached"))
    try:
        before = run.state()
        for number in range(3):
            answer = attach(run.pid, tmp_path / f"run{number}")
            assert answer["steps"]["count"] > 20
            assert {one["name"]: one["status"] for one in answer["sources"]}["probe"] == "ok"
        until(lambda: len(run.lines()) > 500)
        after = run.state()
        workers = proc.children(run.pid)
        assert workers
        until(lambda: not any(meters_of(pid) for pid in workers))
    finally:
        end(run)
    assert after == before
    assert [line[0] for line in run.lines()[:500]] == [line[0] for line in alone.lines()[:500]]


def meters_of(pid: int) -> list[str]:
    """What the probe reads of a loader worker, as far as it is open there."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # batches are handed over in files that come and go
            found.append(os.readlink(one))
    return [link for link in found if link.startswith("/proc/")]


def mkdir(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_a_killed_agent_leaves_a_readable_run_and_a_clean_target(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    chance = random.Random(7)
    for number in range(3):
        out = tmp_path / f"killed{number}"
        agent = subprocess.Popen(perfscope("attach", str(looping.pid), "--duration", "30", "--out", out))
        until(lambda out=out: (out / "manifest.json").exists())
        time.sleep(chance.uniform(0.0, 3.0))
        agent.kill()
        agent.wait()
        load(out)
    until(lambda: looping.state() == before, 20)


def test_a_stopped_agent_stalls_nobody_and_its_probe_leaves(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    command = perfscope("attach", str(looping.pid), "--duration", "20", "--out", tmp_path / "run")
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: looping.state()["hooks"] != before["hooks"])
    agent.send_signal(signal.SIGSTOP)
    steps = len(looping.lines())
    until(lambda: len(looping.lines()) > steps + 100)
    until(lambda: looping.state() == before, 20)
    agent.kill()
    agent.wait()


def test_a_second_agent_is_refused_politely_and_the_first_goes_on(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    command = perfscope("attach", str(looping.pid), "--duration", "8", "--json", "--out", tmp_path / "first")
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: looping.state()["hooks"] != before["hooks"])
    second = attach(looping.pid, tmp_path / "second", seconds=2)
    reasons = {one["name"]: one["reason"] for one in second["sources"]}
    assert f"agent pid {first.pid}" in reasons["probe"]
    first.communicate(timeout=40)
    assert first.returncode == 0
    until(lambda: looping.state() == before, 20)


def test_a_target_that_is_killed_leaves_a_valid_run(looping: Run, tmp_path: Path) -> None:
    command = perfscope("attach", str(looping.pid), "--duration", "60", "--json", "--out", tmp_path / "run")
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    steps = len(looping.lines())
    until(lambda: len(looping.lines()) > steps + 300)
    os.kill(looping.pid, signal.SIGKILL)
    _, err = agent.communicate(timeout=30)
    assert agent.returncode == 0, err
    trace = load(tmp_path / "run")
    assert trace.manifests[0].end_reason == "the process ended"
    assert len(trace.table("loader")) > 50


@pytest.mark.parametrize("kind", ["map", "iterable", "spawn", "epochs", "persistent"])
def test_every_kind_of_loader_is_timed_as_the_program_times_itself(kind: str, tmp_path: Path) -> None:
    run = start("looping.py", tmp_path, "--kind", kind)
    try:
        answer = attach(run.pid, tmp_path / "run", seconds=5)
        lines = run.lines()
    finally:
        end(run)
    trace = load(tmp_path / "run")
    assert fetching_processes(trace) >= 2
    own = of_the_same_steps(lines, trace)
    assert len(own) > 20
    waited, whole = sum(wait for wait, _ in own), sum(whole for _, whole in own)
    budget = {one["category"]: one["share"] for one in answer["time_budget"]}
    assert budget["input_wait"] == pytest.approx(waited / whole, abs=0.05)
    assert answer["steps"]["mean_ms"] == pytest.approx(1000 * whole / len(own), rel=0.1)


def of_the_same_steps(lines: list[list[str]], trace: Trace) -> list[tuple[float, float]]:
    """Return (wait, whole) in seconds as the program timed them, of the steps that the diagnosis is about.

    On a busy machine the other steps, beside our start and our diagnosis, take longer.
    """
    found = trace.fact(steps)
    steady = found[found["phase"].isin(("train", "inference")) & ~found["distorted"]]
    zero_ns = trace.manifests[0].zero_monotonic_ns
    begins = ((steady["ts"] + zero_ns) / 1e9).tolist()
    ends = ((steady["ts"] + steady["dur"] + zero_ns) / 1e9).tolist()
    own = []
    for _, wait, whole, ended in lines:
        at = bisect.bisect_left(begins, float(ended)) - 1
        if at >= 0 and float(ended) <= ends[at] + 0.001:
            own.append((float(wait), float(whole)))
    return own


def fetching_processes(trace: Trace) -> int:
    fetches = trace.table("fetches")
    return 0 if fetches is None else fetches["process"].nunique()


def test_in_process_loading_is_timed(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path, "--workers", "0")
    try:
        attach(run.pid, tmp_path / "run")
    finally:
        end(run)
    fetches = load(tmp_path / "run").table("fetches")
    assert (fetches["worker"] == -1).all() and len(fetches) > 20
    assert (fetches["dataset_ns"] + fetches["collate_ns"] == fetches["dur"]).all()
