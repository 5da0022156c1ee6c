"""CPython 3.14 and newer: through its own sys.remote_exec, and past it where that cannot work."""

import os
from pathlib import Path

import pytest

from perfscope.agent.entry import enter
from tests.agent.entry.target import BUSY, READY, SLEEP, Footprint, Start, eventually, line_of, said, writing


def left_behind() -> list[str]:
    return [name for name in os.listdir("/tmp") if name.startswith("perfscope-")]


def test_a_busy_target(start: Start, tmp_path: Path, python_3_14: str) -> None:
    target = start(BUSY, python=python_3_14)
    before, folders = Footprint(target.pid), left_behind()
    for count in range(1, 11):
        assert enter(target.pid, writing(tmp_path / "out")).way == "remote-exec"
        eventually(lambda: said(tmp_path / "out") == "x" * count, "the source, once each")  # noqa: B023
    eventually(lambda: Footprint(target.pid) == before, "threads, descriptors and memory as before")
    eventually(lambda: left_behind() == folders, "no folder left behind")
    assert target.poll() is None


def test_an_idle_target_is_entered_by_ptrace(start: Start, tmp_path: Path, python_3_14: str) -> None:
    target = start(SLEEP, python=python_3_14)
    assert enter(target.pid, writing(tmp_path / "out")).way == "idle-call"
    eventually(lambda: said(tmp_path / "out") == "x", "the source")


def test_a_target_that_switched_it_off_is_entered_by_ptrace(start: Start, tmp_path: Path, python_3_14: str) -> None:
    target = start(BUSY, python=python_3_14, env={**os.environ, "PYTHON_DISABLE_REMOTE_DEBUG": "1"})
    assert enter(target.pid, writing(tmp_path / "out")).way == "pending-call"
    eventually(lambda: said(tmp_path / "out") == "x", "the source")


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0"])
def test_what_the_source_raises_is_dropped(start: Start, tmp_path: Path, python_3_14: str, source: str) -> None:
    target = start(BUSY, python=python_3_14)
    enter(target.pid, source)
    enter(target.pid, writing(tmp_path / "out"))
    eventually(lambda: said(tmp_path / "out") == "x", "a second source")
    assert target.poll() is None


def test_a_raising_handler_reaches_the_users_code(start: Start, tmp_path: Path, python_3_14: str) -> None:
    """The handler fires inside our script: an audit hook of the target's sends the signal just there."""
    target = start(
        f"""
import os, signal, sys
class Told(Exception): pass
def told(number, frame): raise Told
signal.signal(signal.SIGTERM, told)
asked = False
def watch(event, arguments):
    global asked
    if event == "_thread.start_new_thread" and not asked:
        asked = True
        os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(watch)
{READY}
try:
    while True: pass
except Told:
    print("told", signal.getsignal(signal.SIGTERM) is told, flush=True)
while True: pass
""",
        python=python_3_14,
    )
    enter(target.pid, writing(tmp_path / "out"))
    assert line_of(target) == "told True"
    eventually(lambda: said(tmp_path / "out") == "x", "the source all the same")
    assert target.poll() is None
