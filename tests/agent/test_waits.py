"""What the threads of a process wait for, read from outside, on real processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfscope.agent.hangs.job_without_progress import WaitingThread, may_wait_forever
from perfscope.agent.host.job_activity import JobActivity
from perfscope.agent.host.thread_waits import ThreadWait, WaitReader
from perfscope.agent.stacks.py_spy import find_py_spy
from perfscope.agent.stacks.py_spy_dump import PythonThread, StackDump

DEADLINE_S = 20.0
S = 1_000_000_000


@contextmanager
def program(text: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a Python process that runs `text`; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main_wait(pid: int, reader: WaitReader | None = None) -> ThreadWait:
    """Return what the main thread of a process waits for."""
    wait = (reader or WaitReader(pid)).thread(pid)
    assert wait is not None
    return wait


def wait_until(
    pid: int, holds: Callable[[ThreadWait], bool], reader: WaitReader | None = None
) -> ThreadWait:
    """Return the wait of the main thread once it is the wanted one."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        wait = main_wait(pid, reader)
        if holds(wait):
            return wait
        time.sleep(0.05)
    raise AssertionError(f"it waits for {main_wait(pid, reader)}")


def test_the_path_of_an_open_that_blocks(tmp_path: Path) -> None:
    fifo = tmp_path / "sample.bin"
    os.mkfifo(fifo)
    with program("import sys; open(sys.argv[1], 'rb')", str(fifo)) as process:
        wait = wait_until(process.pid, lambda wait: wait.call.startswith("open"))
        again = main_wait(process.pid)
    assert (wait.kind, wait.target, wait.limit_ns) == ("file", str(fifo), -1)
    assert again.runs == wait.runs


def test_the_time_that_is_left_of_a_sleep() -> None:
    with program("import time; time.sleep(1000)") as process:
        wait = wait_until(process.pid, lambda wait: wait.kind == "sleep")
    assert 900 * S < wait.limit_ns <= 1000 * S


def test_a_lock_has_an_address_and_no_limit() -> None:
    text = "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()"
    with program(text) as process:
        wait = wait_until(process.pid, lambda wait: wait.kind == "lock")
    assert wait.target.startswith("0x")
    assert wait.limit_ns == -1


def test_standard_input_is_a_wait_for_input() -> None:
    with program("input()") as process:
        wait_until(process.pid, lambda wait: wait.kind == "input")


def test_a_server_waits_for_requests() -> None:
    text = """
        import selectors, socket
        chosen = selectors.DefaultSelector()
        chosen.register(socket.create_server(("127.0.0.1", 0)), selectors.EVENT_READ)
        chosen.select()
    """
    with program(text) as process:
        wait = wait_until(process.pid, lambda wait: wait.kind == "requests")
    assert wait.target.startswith("listening 127.0.0.1:")


def test_the_peer_of_a_socket_and_of_a_pipe() -> None:
    text = """
        import os, socket, sys, time
        if sys.argv[1] == "socket":
            here, there = socket.socketpair()
        elif sys.argv[1] == "tcp":
            server = socket.create_server(("127.0.0.1", 0))
            here = socket.create_connection(server.getsockname())
            there, _ = server.accept()
        else:
            here, there = os.pipe()
        if os.fork() == 0:
            here.close() if sys.argv[1] != "pipe" else os.close(here)
            time.sleep(1000)
        there.close() if sys.argv[1] != "pipe" else os.close(there)
        here.recv(1) if sys.argv[1] != "pipe" else os.read(here, 1)
    """
    for kind, seen in (("socket", "network"), ("tcp", "network"), ("pipe", "pipe")):
        with program(text, kind) as process:
            wait = wait_until(process.pid, lambda wait, seen=seen: wait.kind == seen)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            reader = WaitReader(process.pid, [process.pid, int(children)])
            wait = main_wait(process.pid, reader)
        assert wait.peer == int(children), kind


def test_a_stopped_process() -> None:
    with program("import time; time.sleep(1000)") as process:
        wait_until(process.pid, lambda wait: wait.kind == "sleep")
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(process.pid, lambda wait: wait.kind == "stopped")


def test_a_dump_has_the_stack_of_each_thread() -> None:
    executable = find_py_spy()
    if executable is None:
        pytest.skip("py-spy is not installed")
    text = """
        import threading, time
        def prepare():
            time.sleep(1000)
        threading.Thread(target=prepare, name="loader").start()
        time.sleep(1000)
    """
    with program(text) as process:
        wait_until(process.pid, lambda wait: wait.kind == "sleep")
        dump = StackDump(executable, process.pid)
        dump.begin()
        threads: dict[int, PythonThread] | None = None
        until = time.monotonic() + DEADLINE_S
        while threads is None and time.monotonic() < until:
            threads = dump.result()
            time.sleep(0.02)
    if not threads:
        pytest.skip("not permitted to read other processes")
    assert threads[process.pid].stack == "<module> (<string>:6)"
    loaders = [thread.stack for thread in threads.values() if thread.name == "loader"]
    assert len(loaders) == 1
    assert loaders[0].endswith("prepare (<string>:4)")


def test_a_job_is_quiet_only_where_nothing_computes() -> None:
    activity = JobActivity()
    sleeps, computes = "import time; time.sleep(1000)", "while True: pass"
    with program(sleeps) as quiet, program(computes) as busy:
        wait_until(quiet.pid, lambda wait: wait.kind == "sleep")
        for pids, expected in (([quiet.pid], True), ([quiet.pid, busy.pid], False)):
            activity.is_quiet(pids, time.monotonic_ns())
            time.sleep(1.0)
            assert activity.is_quiet(pids, time.monotonic_ns()) is expected


def waiting(kind: str, *, is_main: bool = True, **fields: object) -> WaitingThread:
    """Return a thread of the program that has waited for nine seconds."""
    given = {"runs": 0, "limit_ns": -1, "target": "", "peer": -1, **fields}
    wait = ThreadWait(
        1, "python", 0, 0, "", kind, str(given["target"]), given["peer"], given["limit_ns"]
    )
    return WaitingThread(is_main, wait, given["runs"], "run (./train.py:3)", 9.0)


def test_which_waits_end_a_recording() -> None:
    lock = waiting("lock")
    assert may_wait_forever([[lock]], [])
    assert may_wait_forever([[lock], [waiting("sleep", limit_ns=S, runs=9)]], [])
    assert may_wait_forever([[waiting("network", target="127.0.0.1:80")]], [])
    assert may_wait_forever([[waiting("sleep", limit_ns=1000 * S)]], [])
    assert not may_wait_forever([[waiting("sleep", limit_ns=S, runs=9)]], [])
    assert not may_wait_forever([[waiting("network", target="10.0.0.7:80")]], [])
    assert not may_wait_forever([[waiting("network", target="127.0.0.1:80", runs=9)]], [])
    assert not may_wait_forever([[waiting("requests")]], [])
    assert not may_wait_forever([[lock, waiting("requests", is_main=False)]], [])
    assert not may_wait_forever([[waiting("pipe")]], [[waiting("requests")]])
    assert not may_wait_forever([[lock]], [[waiting("sleep", limit_ns=20 * S)]])
    assert not may_wait_forever([[lock, waiting("sleep", is_main=False, limit_ns=20 * S)]], [])
    worker = waiting("sleep", limit_ns=S, runs=9)
    assert not may_wait_forever([[waiting("pipe")]], [[worker]])
    assert may_wait_forever([[waiting("pipe")]], [[waiting("file")]])
