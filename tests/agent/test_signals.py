"""Signals that arrive while somebody is attached reach the user's code, every one."""

import os
import select
import signal
import subprocess
import time
from pathlib import Path

from tests.running import Run, end, perfscope, start, until


def caught(run: Run) -> int:
    return sum(line[0] == "caught" for line in run.lines())


def newly_said(run: Run) -> str:
    """What came on the target's stderr since the last look."""
    assert run.process.stderr is not None
    file = run.process.stderr.fileno()
    return os.read(file, 1 << 16).decode() if select.select([file], [], [], 0)[0] else ""


def test_interrupts_and_raising_handlers_reach_the_users_code(tmp_path: Path) -> None:
    run = start("interrupted.py", tmp_path)
    command = perfscope(
        "attach", str(run.pid), "--duration", "5", "--json", "--out", tmp_path / "run"
    )
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sent, said = 0, ""

    def arrived() -> bool:
        """Python itself drops what is raised within a destructor, and says so; that must not be in
        code of ours.
        """
        nonlocal said
        said += newly_said(run)
        return caught(run) + said.count("Exception ignored in") == sent

    try:
        while agent.poll() is None:
            number = (signal.SIGTERM, signal.SIGINT)[sent % 2]
            run.process.send_signal(number)
            sent += 1
            until(arrived, 60)
            time.sleep(0.01)
        _, err = agent.communicate()
        assert agent.returncode == 0, err
        assert run.process.poll() is None
    finally:
        end(run)
    names = [line[1] for line in run.lines() if line[0] == "caught"]
    ignored = said.count("Exception ignored in")
    assert sent > 50 and ignored < 3 and "<perfscope" not in said
    assert abs(names.count("Preempted") - names.count("KeyboardInterrupt")) <= 1 + ignored
