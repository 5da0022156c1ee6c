"""Entries of CPython 3.14 and newer: through the fields for debuggers, or by ptrace where those
cannot be used.
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
    wait_for_output,
    writing,
)


def entry_folders() -> list[str]:
    """Return the names of the temporary folders of entries."""
    return [name for name in os.listdir("/tmp") if name.startswith("perfscope-entry-")]


def test_a_busy_target_is_entered_through_the_debugger_fields(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target = start(BUSY, python=python_3_14)
    out = tmp_path / "out"
    before, folders = Footprint(target.pid), entry_folders()
    for count in range(1, 11):
        assert enter(target.pid, writing(out)).way == "remote-exec"
        wait_for_output(out, "x" * count)
    eventually(lambda: Footprint(target.pid) == before, "threads, descriptors and memory as before")
    eventually(lambda: entry_folders() == folders, "the removal of the folders")
    assert target.poll() is None


def test_an_idle_target_is_entered_by_ptrace(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target = start(SLEEP, python=python_3_14)
    assert enter(target.pid, writing(tmp_path / "out")).way == "idle-call"
    wait_for_output(tmp_path / "out", "x")


def test_a_target_that_switched_it_off_is_entered_by_ptrace(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target = start(BUSY, python=python_3_14, env={**os.environ, "PYTHON_DISABLE_REMOTE_DEBUG": "1"})
    assert enter(target.pid, writing(tmp_path / "out")).way == "pending-call"
    wait_for_output(tmp_path / "out", "x")


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0"])
def test_what_the_source_raises_is_dropped(
    start: Start, tmp_path: Path, python_3_14: str, source: str
) -> None:
    target = start(BUSY, python=python_3_14)
    enter(target.pid, source)
    enter(target.pid, writing(tmp_path / "out"))
    wait_for_output(tmp_path / "out", "x")
    assert target.poll() is None


def test_a_raising_handler_reaches_the_users_code(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    """The handler runs inside the injected script: an audit hook of the target sends the signal
    while the script starts its thread.
    """
    target = start(
        f"""
import os, signal, sys
class Terminated(Exception): pass
def raise_terminated(number, frame): raise Terminated
signal.signal(signal.SIGTERM, raise_terminated)
sent = False
def watch(event, arguments):
    global sent
    if event == "_thread.start_new_thread" and not sent:
        sent = True
        os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(watch)
{READY}
try:
    while True: pass
except Terminated:
    print("caught", signal.getsignal(signal.SIGTERM) is raise_terminated, flush=True)
while True: pass
""",
        python=python_3_14,
    )
    enter(target.pid, writing(tmp_path / "out"))
    assert line_of(target) == "caught True"
    wait_for_output(tmp_path / "out", "x")
    assert target.poll() is None


NATIVE = f"{READY}\nwhile True: sum(range(400_000_000))"
"""A program that runs in C for seconds, and only then checks for requests."""


def test_a_target_that_ends_before_it_reads_the_request_leaves_no_folder(
    start: Start, python_3_14: str
) -> None:
    target, folders = start(NATIVE, python=python_3_14), entry_folders()
    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(enter, target.pid, "pass")
        eventually(lambda: entry_folders() != folders, "the script")
        target.kill()
        target.wait()
        assert isinstance(entering.exception(30), CannotEnter)
    assert entry_folders() == folders


def test_a_request_that_is_not_read_is_withdrawn(
    start: Start, tmp_path: Path, python_3_14: str
) -> None:
    target, folders = start(NATIVE, python=python_3_14), entry_folders()
    version, memory = known_version(target.pid), os.open(f"/proc/{target.pid}/mem", os.O_RDWR)
    entered = Target(target.pid, memory, read_identity(target.pid))
    assert not enter_by_debugger_fields(
        entered, writing(tmp_path / "out"), version, time.monotonic_ns() + 10**9
    )
    os.close(memory)
    assert entry_folders() == folders
    enter(target.pid, writing(tmp_path / "out"), deadline_s=PATIENCE_S)
    wait_for_output(tmp_path / "out", "x")


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
