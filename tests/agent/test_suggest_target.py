"""What to attach to instead of a shell and its like: told in one line, on real processes."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from perfscope.agent.host import proc
from perfscope.agent.job.suggest_target import ranks_below, suggest_instead
from tests.running import TARGETS, perfscope

FAMILY = str(TARGETS / "family.py")
SLEEP = "import time; print('ready', flush=True); time.sleep(1000)"
Shell = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """shell(script, *arguments, ready=N) runs it in a session of its own, and awaits N lines of
    it.
    """
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str, ready: int) -> "subprocess.Popen[str]":
        command = ["sh", "-c", script, sys.executable, *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        lines = [
            process.stdout.readline() for _ in range(ready)
        ]  # they may write into each other's
        assert all(one.endswith("\n") for one in lines)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def python_below(pid: int) -> list[int]:
    return [one for one in proc.children(pid) if proc.executable(one).startswith("python")]


def test_the_one_that_computes_is_named_with_its_command(shell: Shell) -> None:
    wrapped = "import subprocess, sys; subprocess.run(sys.argv[1:])"  # as `conda run` does
    script = '"$0" -c "$3" "$0" "$1" single 0 none & "$0" -c "$2" & wait'
    above = shell(script, FAMILY, SLEEP, wrapped, ready=2)
    (wrapper,) = [one for one in python_below(above.pid) if FAMILY in proc.command_line(one)]
    (training,) = python_below(wrapper)
    name = os.path.basename(sys.executable)
    suggestion = suggest_instead(above.pid, "sh")
    assert f"process {above.pid} (sh)" in suggestion
    assert f"{training} ({name} family.py single 0 none)" in suggestion
    meant = ranks_below(above.pid)
    assert meant is not None and meant.pid == training and ranks_below(training) is None


def test_several_are_listed_and_the_ranks_of_a_job_told_as_one(shell: Shell) -> None:
    apart = shell('"$0" -c "$1" & "$0" -c "$1" & wait', SLEEP, ready=2)
    assert ranks_below(apart.pid) is None, "which of them is meant is not told"
    first, second = python_below(apart.pid)
    suggestion = suggest_instead(apart.pid, "sh")
    assert f"{first} (" in suggestion and f", {second} (" in suggestion
    assert "--all-ranks" not in suggestion and "\n" not in suggestion
    ranks = shell('for r in 0 1; do RANK=$r WORLD_SIZE=2 "$0" -c "$1" & done; wait', SLEEP, ready=2)
    assert "--all-ranks for the 2 ranks" in suggest_instead(ranks.pid, "sh")
    many = shell('for n in 1 2 3 4 5 6; do "$0" -c "$1" & done; wait', SLEEP, ready=6)
    assert " and 2 more (`perfscope ps`)" in suggest_instead(many.pid, "sh")


def test_perfscope_does_not_name_itself_to_the_shell_it_was_started_from() -> None:
    asked = subprocess.run(
        ["sh", "-c", '"$@" $$; true', "sh", *perfscope("attach")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "(sh)" in asked.stderr and "`perfscope ps`" in asked.stderr
    assert "descendant" not in asked.stderr


def test_of_a_client_it_is_said_that_its_processes_are_elsewhere() -> None:
    with subprocess.Popen(["sleep", "1000"]) as client:
        suggestion = suggest_instead(client.pid, "srun")
        assert "What srun starts" in suggestion and "`perfscope ps`" in suggestion
        client.kill()
