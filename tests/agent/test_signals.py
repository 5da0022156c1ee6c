"""Signals that arrive while somebody is attached reach the user's code, every one."""

import signal
import subprocess
import time
from pathlib import Path

from tests.running import Run, end, perfscope, start, until


def caught(run: Run) -> int:
    return sum(line[0] == "caught" for line in run.lines())


def test_interrupts_and_raising_handlers_reach_the_users_code(tmp_path: Path) -> None:
    run = start("interrupted.py", tmp_path)
    command = perfscope("attach", str(run.pid), "--duration", "5", "--json", "--out", tmp_path / "run")
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sent = 0
    try:
        while agent.poll() is None:
            number = (signal.SIGTERM, signal.SIGINT)[sent % 2]
            run.process.send_signal(number)
            sent += 1
            until(lambda: caught(run) == sent, 60)  # noqa: B023  waited for here and now
            time.sleep(0.01)
        _, err = agent.communicate()
        assert agent.returncode == 0, err
        assert run.process.poll() is None
    finally:
        end(run)
    names = [line[1] for line in run.lines() if line[0] == "caught"]
    assert sent > 50
    assert names.count("Preempted") == (sent + 1) // 2 and names.count("KeyboardInterrupt") == sent // 2
