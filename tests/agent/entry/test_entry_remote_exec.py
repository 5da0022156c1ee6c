"""CPython 3.14 and newer: through the fields for debuggers, and past them where that cannot
work.
"""

import ctypes
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perfscope.agent.entry import enter, symbol_range
from perfscope.agent.entry.debugger_fields import NoDebuggerFields, find_debugger_fields
from perfscope.agent.entry.pep768 import enter_by_debugger_fields
from perfscope.agent.entry.process_identity import Target, read_identity
from perfscope.agent.entry.refusals import known_version
from perfscope.errors import CannotEnter
from tests.agent.entry.target import (
    BUSY,
    PATIENCE_S,
    READY,
    SLEEP,
    Footprint,
    Start,
    eventually,
    line_of,
    said,
    writing,
)


def left_behind() -> list[str]:
    return [name for name in os.listdir("/tmp") if name.startswith("perfscope-entry-")]


def test_a_busy_target(start: Start, tmp_path: Path, python_3_14: str) -> None:
    target = start(BUSY, python=python_3_14)
    before, folders = Footprint(target.pid), left_behind()
    for count in range(1, 11):
        assert enter(target.pid, writing(tmp_path / "out")).way == "remote-exec"
        eventually(lambda: said(tmp_path / "out") == "x" * count, "the source, once each")  # noqa: B023
    eventually(lambda: Footprint(target.pid) == before, "threads, descriptors and memory as before")
    eventually(lambda: left_behind() == folders, "no folder left behind")
    assert target.poll() is None


def test_an_idle_target_is_entered_by_ptrace(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target = start(SLEEP, python=python_3_14)
    assert enter(target.pid, writing(tmp_path / "out")).way == "idle-call"
    eventually(lambda: said(tmp_path / "out") == "x", "the source")


def test_a_target_that_switched_it_off_is_entered_by_ptrace(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target = start(BUSY, python=python_3_14, env={**os.environ, "PYTHON_DISABLE_REMOTE_DEBUG": "1"})
    assert enter(target.pid, writing(tmp_path / "out")).way == "pending-call"
    eventually(lambda: said(tmp_path / "out") == "x", "the source")


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0"])
def test_what_the_source_raises_is_dropped(
    start: Start, tmp_path: Path, python_3_14: str, source: str
) -> None:
    target = start(BUSY, python=python_3_14)
    enter(target.pid, source)
    enter(target.pid, writing(tmp_path / "out"))
    eventually(lambda: said(tmp_path / "out") == "x", "a second source")
    assert target.poll() is None


def test_a_raising_handler_reaches_the_users_code(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    """The handler fires inside our script: an audit hook of the target's sends the signal just
    there.
    """
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


NATIVE = (  # seconds in C, without a look at what is asked
    f"{READY}\nwhile True: sum(range(400_000_000))"
)


def test_a_target_that_ends_before_it_looks_leaves_no_folder(
    start: Start, python_3_14: str
) -> None:
    target, folders = start(NATIVE, python=python_3_14), left_behind()
    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(enter, target.pid, "pass")
        eventually(lambda: left_behind() != folders, "the script")
        target.kill()
        target.wait()
        assert isinstance(entering.exception(30), CannotEnter)
    assert left_behind() == folders


def test_a_request_that_is_not_read_is_withdrawn(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target, folders = start(NATIVE, python=python_3_14), left_behind()
    version, memory = known_version(target.pid), os.open(f"/proc/{target.pid}/mem", os.O_RDWR)
    entered = Target(target.pid, memory, read_identity(target.pid))
    assert not enter_by_debugger_fields(
        entered, writing(tmp_path / "out"), version, time.monotonic_ns() + 10**9
    )
    os.close(memory)
    assert left_behind() == folders
    enter(target.pid, writing(tmp_path / "out"), deadline_s=PATIENCE_S)
    eventually(lambda: said(tmp_path / "out") == "x", "the source, once")


def test_a_script_of_another_debugger_is_kept(start: Start, python_3_14: str) -> None:
    target = start(NATIVE, python=python_3_14)
    runtime = symbol_range(target.pid, "_PyRuntime")
    assert runtime is not None
    memory = os.open(f"/proc/{target.pid}/mem", os.O_RDWR)
    try:
        fields = find_debugger_fields(memory, runtime[0], known_version(target.pid))
        fields.request_script("/nowhere/first.py")
        with pytest.raises(NoDebuggerFields, match="another"):
            fields.request_script("/nowhere/second.py")
        fields.cancel_request()
        assert not fields.is_pending()
        with pytest.raises(NoDebuggerFields, match="too long"):
            fields.request_script("/" + "x" * 600)
    finally:
        os.close(memory)


@pytest.mark.parametrize(
    ("table", "version"),
    [
        (b"", 0x030E0AF0),
        (b"x" * 1000, 0x030E0AF0),
        (b"xdebugpy" + b"\xff" * 1000, 0x030E0AF0),
        (b"", 0x03630000),
    ],
)
def test_a_forged_table_is_refused(table: bytes, version: int) -> None:
    """The memory of this process is used as that of a target with a forged table."""
    held = ctypes.create_string_buffer(table, 2000)
    memory = os.open("/proc/self/mem", os.O_RDWR)
    try:
        with pytest.raises((NoDebuggerFields, OSError)):
            find_debugger_fields(memory, ctypes.addressof(held), version)
    finally:
        os.close(memory)
