"""What a thread waits for, by its system call."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from perfscope.agent.collectors.thread_states import MainThread
from perfscope.agent.host.system_calls import system_call_kinds
from tests.target_processes import until

WAITING = {
    "terminal": "import os; [os.write(1, bytes(4096)) for _ in range(1000)]",
    "child": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])",
    "sleep": "import time; time.sleep(1000)",
    "library-sleep": "import ctypes; ctypes.CDLL(None).sleep(1000)",
}


@pytest.fixture(params=WAITING)
def waiting(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A state, and the pid of a process whose main thread comes to be in it."""
    reader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING[request.param]],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    )
    yield request.param, process.pid
    process.kill()
    process.communicate()
    os.close(reader)
    os.close(terminal)


def test_the_state_of_a_thread_is_what_it_waits_for(waiting: tuple[str, int]) -> None:
    state, pid = waiting
    thread = MainThread(pid, system_call_kinds() or {}, is_python=False)
    until(lambda: thread.state() == state)
    thread.close()


@pytest.mark.parametrize(("files", "state"), [("", "sleep"), ("sys.stdin", "poll")])
def test_select_without_files_is_how_older_versions_of_python_sleep(files: str, state: str) -> None:
    code = f"import select, sys; select.select([{files}], [], [], 1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        thread = MainThread(process.pid, system_call_kinds() or {}, is_python=False)
        until(lambda: thread.state() == state)
        thread.close()
        process.kill()
