"""Windows of torch's profiler in running processes: what they record, and that they change nothing
in the process.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from perfscope.agent.probe.kernels import NOT_IMPORTED
from perfscope.agent.probe.user_profiler import ON_OR_PREPARED
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.stored import read_manifest
from tests.target_processes import (
    attach,
    end,
    perfscope,
    source_reasons,
    source_statuses,
    start,
    until,
)

PHASES = ("forward", "backward", "optimizer")


def test_a_window_shows_operators_with_shapes_and_changes_nothing(tmp_path: Path) -> None:
    for name in ("alone", "attached"):
        (tmp_path / name).mkdir()
    alone = start("looping.py", tmp_path / "alone", "--steps", "600", steps=600)
    alone.process.wait(60)
    run = start("looping.py", tmp_path / "attached")
    try:
        before = run.state()
        answer = attach(run.pid, tmp_path / "run", seconds=5)
        until(lambda: len(run.lines()) > 600)
        after = run.state()
        os.killpg(run.pid, signal.SIGKILL)
        assert run.process.stderr is not None and run.process.stderr.read() == ""
    finally:
        end(run)
    assert before == after
    assert [line[0] for line in run.lines()[:600]] == [line[0] for line in alone.lines()[:600]]
    assert source_statuses(answer)["kernels"] == "ok"
    assert "5 whole steps" in source_reasons(answer)["kernels"]
    budget = {entry["category"] for entry in answer["time_budget"]}
    assert "device-compute" in budget and "compute-or-host" not in budget
    assert answer["steps"]["distorted"] >= 5 and answer["budget_over"] == "steps"
    operators = answer["operators"]
    names = {phase: {row["name"] for row in operators if row["phase"] == phase} for phase in PHASES}
    products = [row for row in operators if row["name"] == "aten::addmm"]
    assert any("[32, 64]" in row["shapes"] for row in products if row["phase"] == "forward")
    assert any("Backward" in name for name in names["backward"])
    assert any("add_" in name for name in names["optimizer"])
    assert 0.8 < sum(row["share"] for row in operators) <= 1.001
    trace = load_trace(tmp_path / "run")
    ops, windows = trace.table("ops"), trace.table("windows")
    assert ops is not None and windows is not None
    counts = Counter(ops["name"].astype(str))
    assert counts["aten::addmm"] >= 10 and counts["aten::threshold_backward"] >= 5
    assert any("SGD" in name or "_foreach" in name or name == "aten::add_" for name in counts)
    assert "[64, 32]" in " ".join(ops["shapes"].dropna().astype(str).unique())
    window = windows.iloc[0]
    inside = (ops["ts"] >= window["begin"] - 5_000_000) & (
        ops["ts"] + ops["dur"] <= window["end"] + 5_000_000
    )
    assert inside.all()
    ranges = trace.table("ranges")
    forward = ranges[
        (ranges["category"] == "forward")
        & (ranges["ts"] > window["begin"])
        & (ranges["ts"] < window["end"])
    ]
    product_ts = ops[ops["name"] == "aten::addmm"]["ts"]
    for row in forward[1:-1].itertuples():
        assert product_ts.between(row.ts, row.ts + row.dur, inclusive="neither").any()


def record_windows(pid: int, out: Path, count: int, *options: str) -> None:
    """Record, as a dashboard has it done, until there are `count` windows; then press Ctrl-C."""
    command = perfscope("attach", str(pid), "--follow", "--steered", "--out", out, *options)
    null = subprocess.DEVNULL
    agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null)
    try:
        until(lambda: len(list(out.glob("kineto/*.json.gz"))) >= count, 90)
        agent.send_signal(signal.SIGINT)
        assert agent.wait(60) == 0
    finally:
        agent.kill()
        agent.communicate()


def test_repeated_windows_are_stored_separately(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path)
    try:
        record_windows(run.pid, tmp_path / "run", 2, "--every", "0.2", "--window", "steps=2")
    finally:
        end(run)
    windows, ops = (
        load_trace(tmp_path / "run").table("windows"),
        load_trace(tmp_path / "run").table("ops"),
    )
    assert windows is not None and ops is not None
    kept = windows[windows["kept"]]
    assert len(kept) >= 2 and len(list((tmp_path / "run" / "kineto").iterdir())) == len(kept)
    for row in kept.itertuples():
        assert ((ops["ts"] > row.begin) & (ops["ts"] < row.end)).any()


def test_windows_are_ended_while_no_thread_records(tmp_path: Path) -> None:
    """Four threads record all the time: a profile that ended meanwhile would print an error or
    crash the process.
    """
    run = start("four_threads.py", tmp_path, steps=2)
    try:
        options = ("--every", "0.05", "--window", "seconds=0.03")
        record_windows(run.pid, tmp_path / "run", 5, *options)
        seen = len(run.lines())
        until(lambda: len(run.lines()) > seen)
        os.killpg(run.pid, signal.SIGKILL)
        assert run.process.stderr is not None and run.process.stderr.read() == ""
    finally:
        end(run)


@pytest.mark.parametrize("option", ["--stripped", "--window-stacks"])
def test_a_window_that_is_ended_with_the_gil_is_short_and_changes_nothing(
    option: str, tmp_path: Path
) -> None:
    stripped = option == "--stripped"
    run = start("looping.py", tmp_path, *([option] if stripped else []))
    try:
        before = run.state()
        options = ["--window-stall", "100", *([] if stripped else [option])]
        answer = attach(run.pid, tmp_path / "run", *options, seconds=4)
        until(lambda: run.state() == before)
        os.killpg(run.pid, signal.SIGKILL)
        assert run.process.stderr is not None and run.process.stderr.read() == ""
    finally:
        end(run)
    assert source_statuses(answer)["kernels"] in ("ok", "partial")
    assert "ended with the GIL" in source_reasons(answer)["kernels"]
    trace = load_trace(tmp_path / "run")
    ops, windows = trace.table("ops"), trace.table("windows")
    assert ops is not None and windows is not None
    assert {"aten::addmm", "aten::threshold_backward"} <= set(ops["name"])
    assert (windows["stall_ns"] >= 0).all()


@pytest.mark.parametrize(("mode", "products"), [("schedule", "10"), ("thread", "40")])
def test_a_profiler_that_the_program_uses_loses_nothing(
    mode: str, products: str, tmp_path: Path
) -> None:
    run = start("profiled.py", tmp_path, mode)
    try:
        answer = attach(run.pid, tmp_path / "run", "--window", "seconds=2", seconds=7)
        seen = len(run.lines())
        until(lambda: len(run.lines()) > seen + 300)
        traces = [line[1] for line in run.lines() if line[0] == "trace"]
    finally:
        end(run)
    assert len(traces) > 5 and set(traces) == {products}
    assert source_statuses(answer)["probe"] == "ok"


def test_no_window_is_taken_while_another_profiler_is_on(tmp_path: Path) -> None:
    run = start("profiled.py", tmp_path, "always")
    try:
        answer = attach(run.pid, tmp_path / "run", seconds=4)
        (tmp_path / "steps.stop").touch()
        until(lambda: any(line[0] == "trace" for line in run.lines()), 60)
        words = [line[0] for line in run.lines()]
        traces = [line[1] for line in run.lines() if line[0] == "trace"]
    finally:
        end(run)
    assert source_statuses(answer)["kernels"] == "unavailable"
    assert ON_OR_PREPARED in source_reasons(answer)["kernels"]
    manifest = read_manifest(tmp_path / "run")
    assert manifest.depth == "probe" and ON_OR_PREPARED in (manifest.depth_reason or "")
    assert traces == [str(2 * words.index("trace"))]
    assert load_trace(tmp_path / "run").table("ops") is None


MAPS_TORCH = """
import mmap, os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
while True: time.sleep(0.01)
"""


def test_a_program_that_has_not_imported_torch_refuses_a_window(tmp_path: Path) -> None:
    """The library of torch is loaded, by an extension or under its name."""
    library = tmp_path / "libtorch_cpu.so"
    library.write_bytes(Path(sys.executable).resolve().read_bytes())
    with subprocess.Popen([sys.executable, "-c", MAPS_TORCH, library]) as run:
        try:
            until(lambda: "libtorch" in Path(f"/proc/{run.pid}/maps").read_text(), 20)
            answer = attach(run.pid, tmp_path / "run", seconds=6)
        finally:
            run.kill()
    assert source_statuses(answer)["probe"] in ("ok", "partial")
    assert source_reasons(answer)["kernels"] == NOT_IMPORTED


def test_an_agent_killed_within_a_window_leaves_the_target_clean(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path)
    try:
        before = run.state()
        where = ("--window", "seconds=20", "--duration", "40", "--out", tmp_path / "run")
        agent = subprocess.Popen(perfscope("attach", str(run.pid), *where))
        with_both_threads = before["threads"] + 2  # one of the probe, one of the window
        until(lambda: run.state()["threads"] >= with_both_threads, 60)
        agent.kill()
        agent.wait()
        until(lambda: run.state() == before, 40)
        load_trace(tmp_path / "run")
        again = attach(run.pid, tmp_path / "again", seconds=5)
    finally:
        end(run)
    statuses = source_statuses(again)
    assert statuses["probe"] == "ok"
    assert statuses["kernels"] == "unavailable"  # a process gets one window


@pytest.mark.parametrize(
    "wrong",
    [("--window", "steps=0"), ("--window", "soon"), ("--window-stall", "-3"), ("--every", "60s")],
)
def test_an_invalid_window_is_rejected(wrong: tuple[str, str], tmp_path: Path) -> None:
    command = perfscope("attach", "1", *wrong, "--out", tmp_path / "run")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and wrong[0] in done.stderr and "Traceback" not in done.stderr


def test_depth_probe_takes_no_window_option(tmp_path: Path) -> None:
    command = perfscope(
        "attach", "1", "--depth", "probe", "--window", "steps=5", "--out", tmp_path / "run"
    )
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "--depth" in done.stderr
    assert not (tmp_path / "run").exists()
