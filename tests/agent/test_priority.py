"""The priorities of perfscope's processes: lower than the target's, but for everything that the
target waits for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.overhead.idle_priority import IOPRIO_IDLE, RECORDING_NICE
from tests.target_processes import attach, end, perfscope, source_statuses, start, until

STATE = """
import ctypes, os, platform, threading
def state():
    number = {"x86_64": 252, "aarch64": 31}[platform.machine()]
    tid = threading.get_native_id()
    io_priority = ctypes.CDLL(None).syscall(number, 1, tid)
    return [os.getpriority(os.PRIO_PROCESS, tid), os.sched_getscheduler(tid), io_priority]
"""
LOWERED = (
    STATE
    + """
import json
from perfscope.agent.overhead.idle_priority import at_normal_priority, lower_priority
before = state()
lower_priority()
def forked():
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(state()).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(reading, 1000))
states = {"before": before, "lowered": state(), "child": forked()}
states["entry"] = at_normal_priority(forked)
print(json.dumps(states))
"""
)
IN_A_CHILD = (
    STATE
    + """
import json, sys, time
from perfscope.agent.overhead.idle_priority import in_idle_child
def work(about_to_print):
    if os.getpid() != first:
        time.sleep(float(sys.argv[1]))
    about_to_print()
    leads_session = os.getsid(0) == os.getpid()
    child = os.getpid() != first
    print(json.dumps({"child": child, "policy": state()[1], "session": leads_session}))
    return 7
first = os.getpid()
sys.exit(in_idle_child(work, patience_s=float(sys.argv[2])))
"""
)


def run_and_parse(program: str, *arguments: str, code: int = 0) -> Any:
    """Run a program and return the one line of JSON that it prints."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(
    os.getpriority(os.PRIO_PROCESS, 0) >= RECORDING_NICE, reason="the tests run at low priority"
)
def test_an_entry_keeps_its_priority_and_everything_else_gives_way() -> None:
    found = run_and_parse(LOWERED)
    lowered = [RECORDING_NICE, found["before"][1], IOPRIO_IDLE]
    assert found["lowered"] == found["child"] == lowered
    assert found["entry"] == found["before"]


def test_a_diagnosis_is_made_in_a_new_session_with_idle_priority() -> None:
    found = run_and_parse(IN_A_CHILD, "0", "60", code=7)
    assert found == {"child": True, "policy": os.SCHED_IDLE, "session": True}


def test_a_diagnosis_that_gets_no_core_is_made_at_the_priority_of_the_recording() -> None:
    """It is printed once: the child that got no core prints nothing."""
    found = run_and_parse(IN_A_CHILD, "60", "0.2", code=7)
    assert not found["child"] and found["policy"] == os.SCHED_OTHER


def test_a_command_of_perfscope_run_has_the_priority_of_the_caller(tmp_path: Path) -> None:
    program = STATE + "import subprocess, sys; print(state())\n"
    alone = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    options = ("--out", tmp_path / "run", f"--json={tmp_path / 'diagnosis'}")
    command = perfscope("run", *options, "--", sys.executable, "-c", program)
    started = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert started.stdout == alone.stdout


@contextmanager
def full_cores() -> Iterator[None]:
    """Keep every core busy in this session, in which the kernel prefers them to everything of
    lower priority.
    """
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_on_full_cores_a_probe_keeps_its_lease(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path)
    try:
        with full_cores():
            answer = attach(run.pid, tmp_path / "run", seconds=8)
    finally:
        end(run)
    assert source_statuses(answer)["probe"] == "ok"
    records = [
        json.loads(line)
        for path in (tmp_path / "run").glob("streams/probe.blocks@0/*")
        for line in path.open()
    ]
    assert records[-1]["ts"] - records[0]["ts"] > 5_000_000_000


def test_only_the_threads_that_record_have_low_priority(tmp_path: Path) -> None:
    run = start("looping.py", tmp_path)
    agent = subprocess.Popen(
        perfscope("attach", str(run.pid), "--duration", "60", "--out", tmp_path / "run")
    )
    try:
        until(lambda: os.getpriority(os.PRIO_PROCESS, agent.pid) == RECORDING_NICE)
        threads = os.listdir(f"/proc/{agent.pid}/task")
        priorities = [os.getpriority(os.PRIO_PROCESS, int(tid)) for tid in threads]
        assert min(priorities) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        agent.terminate()
        agent.wait(60)
        end(run)


PRINTING_FOREVER = """
import os, time
from perfscope.agent.overhead.idle_priority import in_idle_child
import perfscope.agent.overhead.idle_priority as idle
from perfscope.errors import PerfscopeError
idle.PATIENCE_S = 0.2
def work(about_to_print):
    about_to_print()
    time.sleep(1000)
try:
    in_idle_child(work, patience_s=0.2)
except PerfscopeError:
    print('"gave up"')
"""


def test_waiting_for_a_child_that_does_not_finish_printing_has_a_time_limit() -> None:
    assert run_and_parse(PRINTING_FOREVER) == "gave up"
