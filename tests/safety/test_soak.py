"""The soak: its plan of kills, how it continues after a stop, and that its checks find harm."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.safety.soak.cycle import Outcome
from tests.safety.soak.growth import slope_interval
from tests.safety.soak.kills import planned
from tests.safety.soak.leftovers import changed_children, changes, whole_state
from tests.safety.soak.results import ENOUGH_KILLS, Results, geometric_mean, interval, summary
from tests.safety.soak.targets import PERIOD, RunningProgram, environment, wait_for_first_steps

PROGRAM = """
import sys, torch, gc, os, threading, signal
sys.path.insert(0, {folder!r})
from observed import Observed, PERIOD
torch.set_num_threads(1)
observed = Observed(sys.argv[1])
def spoil(*_):
    torch.nn.Module.__call__ = lambda self, *a, **k: None
    gc.callbacks.append(print)
    sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks[1] = print
    sys.modules["perfscope_left"] = sys
    sys.unraisablehook = print
    open("/dev/null")
    observed.kept = open("/dev/null")
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    os.mkdir("left")
signal.signal(signal.SIGUSR1, spoil)
while True:
    observed.done(float(observed.step % PERIOD))
    threading.Event().wait(0.002)
"""


def test_the_plan_is_repeatable_and_kills_enough_with_all_kinds_in_all_phases() -> None:
    plan = [planned(7, cycle, cycle % 2 == 0) for cycle in range(600)]
    kills = [kill for kill in plan if kill is not None]
    assert plan == [planned(7, cycle, cycle % 2 == 0) for cycle in range(600)]
    assert len(kills) > 1.2 * ENOUGH_KILLS * len(plan)
    assert {kill.what for kill in kills} == {"agent", "tracer", "spy", "interrupt", "freeze"}
    assert {kill.phase for kill in kills if kill.what in ("agent", "freeze")} == {
        "entry",
        "window",
        "exit",
    }


def test_a_stopped_soak_continues_with_the_rows_of_its_seed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Results(path, 1).add(Outcome(0, "plain", 0))
    Results(path, 2).add(Outcome(1, "plain", 1))
    with open(path, "a") as file:
        file.write('{"seed": 1, "cyc')  # killed while it wrote
    assert sorted(Results(path, 1).rows) == [0]


def test_harm_in_one_cycle_is_in_the_summary_and_fails_the_soak() -> None:
    rows = [
        asdict(Outcome(number, "plain", number % 2, before_hz=50.0, after_hz=50.0))
        for number in range(20)
    ]
    assert summary(rows)[1]
    rows[3]["harmed"] = ["left: gc: +['print'] -[]"]
    text, held = summary(rows)
    assert not held and "left: gc" in text


def test_a_slower_target_is_a_failure_only_if_the_whole_interval_is_slower() -> None:
    rows = [
        asdict(Outcome(number, "plain", 1, before_hz=50.0, after_hz=48.0)) for number in range(40)
    ]
    assert not summary(rows)[1]
    ratio, low, high = interval([0.9, 1.1] * 20, geometric_mean)
    assert low <= ratio <= high and high > 0.99


def test_the_measured_growth_is_the_simulated_growth() -> None:
    slope, low, high = slope_interval(
        [1_000_000 + 300 * number + (number * 7919) % 101 for number in range(200)]
    )
    assert slope == pytest.approx(300, rel=0.02) and low < slope < high


@pytest.fixture
def spoiled(tmp_path: Path):
    """A program that changes all kinds of state on SIGUSR1."""
    folder = Path(__file__).parent / "soak" / "programs"
    home = tmp_path / "home"
    home.mkdir()
    with open(tmp_path / "stderr", "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(folder=str(folder)), str(tmp_path / "out")],
            cwd=home,
            env=environment(tmp_path, tmp_path),
            stderr=errors,
            start_new_session=True,
        )
    run = RunningProgram("spoiled", process, tmp_path)
    wait_for_first_steps(run)
    yield run
    run.end()


def test_every_kind_of_leftover_is_found_and_a_quiet_program_has_none(
    spoiled: RunningProgram,
) -> None:
    before = whole_state(spoiled)
    assert changes(before, whole_state(spoiled)) == {}
    os.kill(spoiled.pid, signal.SIGUSR1)
    spoiled.wait_for_steps(PERIOD)
    after = whole_state(spoiled)
    expected = {
        "identities",
        "gc",
        "hooks",
        "modules",
        "sys_hooks",
        "descriptors",
        "threads",
        "handlers",
        "folder",
    }
    assert expected <= set(changes(before, after))
    child = json.loads(json.dumps({"kind": "fork", "state": after}))
    assert changed_children([child], before, [])
