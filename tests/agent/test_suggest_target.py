"""Suggestions of processes to attach to in place of a shell, for real processes."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from perfscope.agent.host import proc
from perfscope.agent.job.suggest_target import ranks_below, suggest_instead
from tests.target_processes import TARGETS, perfscope

CHILD_PROCESSES = str(TARGETS / "child_processes.py")
SLEEP = "import time; print('ready', flush=True); time.sleep(1000)"
Shell = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """Return shell(script, *arguments, ready=N), which runs a script in a new session and waits
    until it has printed N lines.
    """
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str, ready: int) -> "subprocess.Popen[str]":
        command = ["sh", "-c", script, sys.executable, *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        # Two programs may print their words into one line, and then two line ends.
        lines = [process.stdout.readline() for _ in range(ready)]
        assert all(line.endswith("\n") for line in lines)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def python_below(pid: int) -> list[int]:
    return [child for child in proc.children(pid) if proc.executable(child).startswith("python")]


def test_the_only_process_with_torch_is_named_with_its_command(shell: Shell) -> None:
    wrapped = "import subprocess, sys; subprocess.run(sys.argv[1:])"  # as `conda run` does
    script = '"$0" -c "$3" "$0" "$1" single 0 none & "$0" -c "$2" & wait'
    above = shell(script, CHILD_PROCESSES, SLEEP, wrapped, ready=2)
    pythons = python_below(above.pid)
    (wrapper,) = [pid for pid in pythons if CHILD_PROCESSES in proc.command_line(pid)]
    (training,) = python_below(wrapper)
    name = os.path.basename(sys.executable)
    suggestion = suggest_instead(above.pid, "sh")
    assert f"process {above.pid} (sh)" in suggestion
    assert f"{training} ({name} child_processes.py single 0 none)" in suggestion
    rank = ranks_below(above.pid)
    assert rank is not None and rank.pid == training and ranks_below(training) is None


def test_several_programs_are_listed_and_the_ranks_of_a_job_count_as_one(shell: Shell) -> None:
    apart = shell('"$0" -c "$1" & "$0" -c "$1" & wait', SLEEP, ready=2)
    assert ranks_below(apart.pid) is None, "the user may mean either"
    first, second = python_below(apart.pid)
    suggestion = suggest_instead(apart.pid, "sh")
    assert f"{first} (" in suggestion and f", {second} (" in suggestion
    assert "--all-ranks" not in suggestion and "\n" not in suggestion
    ranks = shell('for r in 0 1; do RANK=$r WORLD_SIZE=2 "$0" -c "$1" & done; wait', SLEEP, ready=2)
    assert "--all-ranks for the 2 ranks" in suggest_instead(ranks.pid, "sh")
    many = shell('for n in 1 2 3 4 5 6; do "$0" -c "$1" & done; wait', SLEEP, ready=6)
    assert " and 2 more (`perfscope ps`)" in suggest_instead(many.pid, "sh")


def test_perfscope_does_not_suggest_itself_to_its_own_shell() -> None:
    asked = subprocess.run(
        ["sh", "-c", '"$@" $$; true', "sh", *perfscope("attach")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "(sh)" in asked.stderr and "`perfscope ps`" in asked.stderr
    assert "descendant" not in asked.stderr


def test_a_client_is_reported_as_having_its_processes_elsewhere() -> None:
    with subprocess.Popen(["sleep", "1000"]) as client:
        suggestion = suggest_instead(client.pid, "srun")
        assert "What srun starts" in suggestion and "`perfscope ps`" in suggestion
        client.kill()
