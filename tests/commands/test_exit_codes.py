"""The exit codes that docs/stability.md promises, each by a real process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.calling import call
from tests.commands.conftest import Recording
from tests.target_processes import perfscope, until

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def code_of(*arguments: str | Path, cwd: Path | None = None) -> int:
    done = call(*arguments, cwd=cwd)
    assert done.stderr.count("\n") <= 2 or done.returncode == 0, done.stderr
    return done.returncode


def test_exit_code_0_does_not_depend_on_the_verdict(recording: Recording) -> None:
    assert code_of("analyze", recording.run_folder) == 0
    assert code_of("analyze", recording.run_folder, "--ignore", "input-bound") == 0


def test_a_failure_has_exit_code_1(recording: Recording, tmp_path: Path) -> None:
    assert code_of("report", recording.run_folder, "-o", tmp_path / "none" / "r.html") == 1
    assert code_of("analyze", recording.run_folder, "--html", tmp_path / "none" / "r.html") == 1


@pytest.mark.parametrize(
    "line",
    [
        "",
        "analyse run",
        "analyze /nowhere",
        "analyze --ign=x run",
        "attach 4194303",
        "attach 1 --duration 0",
        "attach 1 --depth observe --window steps=3",
        "attach 1 --html /nowhere/r.html",
        "run",
        "run --json -- true",
        "ui /nowhere",
        "ui --live 7",
        "ui --base-path x",
        "report /nowhere -o r.html",
        "export /nowhere --to csv",
        "explain no-such-finding",
        "top --interval 0",
    ],
)
def test_bad_usage_and_unreadable_input_have_exit_code_2(line: str, tmp_path: Path) -> None:
    assert code_of(*line.split(), cwd=tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "code"),
    [("exit 0", 0), ("exit 7", 7), ("exit 130", 130), ("kill -9 $$", 137)],
)
def test_run_exits_with_the_code_of_its_command(program: str, code: int, tmp_path: Path) -> None:
    options = ["--depth", "observe", "--json=d.json", "--"]
    command = perfscope("run", *options, "sh", "-c", program)
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == code
    assert code_of("run", "--", "no-such-program-anywhere", cwd=tmp_path) == 127


def test_ctrl_c_during_a_recording_prints_the_diagnosis(tmp_path: Path) -> None:
    target = subprocess.Popen(SLEEPS)
    out = tmp_path / "run"
    command = perfscope("attach", str(target.pid), "--depth", "observe", "--out", out)
    pipes = subprocess.PIPE
    agent = subprocess.Popen(command, stdout=pipes, stderr=pipes, text=True)
    try:
        until((out / "manifest.json").exists)
        time.sleep(1)
        agent.send_signal(signal.SIGINT)
        printed, error = agent.communicate(timeout=60)
        assert target.poll() is None
    finally:
        agent.kill()
        agent.communicate()
        target.kill()
        target.wait()
    assert agent.returncode == 0 and printed, error


INTERRUPTED = """
import os, signal, sys
import perfscope.cli, perfscope.commands.ps
def interrupt(args):
    os.kill(os.getpid(), signal.SIGINT)
perfscope.commands.ps.run = interrupt
sys.exit(perfscope.cli.main(["ps"]))
"""


def test_an_interrupt_before_anything_is_printed_has_exit_code_130() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert done.returncode == 130 and done.stdout == "" and done.stderr.count("\n") == 1
