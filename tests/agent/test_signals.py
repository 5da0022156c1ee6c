"""Every signal that arrives while perfscope is attached reaches the user's code."""

import os
import select
import signal
import subprocess
import time
from pathlib import Path

from tests.target_processes import Run, end, perfscope, start, until


def count_caught(run: Run) -> int:
    """Return how many signals the target's loop has caught."""
    return sum(line[0] == "caught" for line in run.lines())


def read_new_errors(run: Run) -> str:
    """Return what the target has written to stderr since the last call."""
    assert run.process.stderr is not None
    file = run.process.stderr.fileno()
    return os.read(file, 1 << 16).decode() if select.select([file], [], [], 0)[0] else ""


def test_interrupts_and_raising_handlers_reach_the_users_code(tmp_path: Path) -> None:
    run = start("interrupted.py", tmp_path)
    command = perfscope(
        "attach", str(run.pid), "--duration", "5", "--json", "--out", tmp_path / "run"
    )
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sent, errors = 0, ""

    def all_arrived() -> bool:
        """Return whether each signal was caught, or raised in a destructor: Python prints that and
        drops it, which must not happen in perfscope's code.
        """
        nonlocal errors
        errors += read_new_errors(run)
        return count_caught(run) + errors.count("Exception ignored in") == sent

    try:
        while agent.poll() is None:
            number = (signal.SIGTERM, signal.SIGINT)[sent % 2]
            run.process.send_signal(number)
            sent += 1
            until(all_arrived, 60)
            time.sleep(0.01)
        _, err = agent.communicate()
        assert agent.returncode == 0, err
        assert run.process.poll() is None
    finally:
        end(run)
    names = [line[1] for line in run.lines() if line[0] == "caught"]
    ignored = errors.count("Exception ignored in")
    assert sent > 50 and ignored < 3 and "<perfscope" not in errors
    assert abs(names.count("Preempted") - names.count("KeyboardInterrupt")) <= 1 + ignored
