"""What is read of CPython's own state: its main thread, the lock of its pending calls, and whether
it has a GIL.
"""

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest

from perfscope.agent.entry import enter, symbol_range
from perfscope.agent.entry.by_ptrace import enter_by_ptrace
from perfscope.agent.entry.process_identity import Target, read_identity
from perfscope.agent.entry.runtime_state import SEARCHED_BYTES, RuntimeState, read_runtime_state
from perfscope.agent.entry.symbols import python_version
from perfscope.errors import CannotEnter
from tests.agent.entry.target import BUSY, SLEEP, Start, wait_for_output, writing

PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13")
HOST = """
#include <pthread.h>
#include <stddef.h>
int Py_BytesMain(int, char **);
static char **words; static int count;
static void *run(void *unused) { Py_BytesMain(count, words); return NULL; }
int main(int argc, char **argv) {
    pthread_t thread; count = argc; words = argv;
    pthread_create(&thread, NULL, run, NULL);
    return pthread_join(thread, NULL);
}
"""


def state_of(pid: int) -> RuntimeState:
    """Return the state of a process."""
    place, version = symbol_range(pid, "_PyRuntime"), python_version(pid)
    assert place is not None
    assert version is not None
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        return read_runtime_state(memory, place[0], version)
    finally:
        os.close(memory)


def test_this_process_was_initialized_by_its_main_thread() -> None:
    state, main = state_of(os.getpid()), threading.main_thread().ident
    assert main is not None
    assert state.knows_thread(main)
    assert not state.has_another_main_thread(main)
    other = threading.Thread(target=time.sleep, args=(0.5,))
    other.start()
    assert other.ident is not None
    assert state.has_another_main_thread(other.ident)
    other.join()


@pytest.mark.parametrize("python", [sys.executable, *PYTHONS])
def test_the_lock_of_the_pending_calls_is_found(start: Start, python: str) -> None:
    found = shutil.which(python)
    if not found or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no {python} on PATH")
    target = start(SLEEP, python=found)
    place, version = symbol_range(target.pid, "_PyRuntime"), python_version(target.pid)
    assert place is not None
    memory = os.open(f"/proc/{target.pid}/mem", os.O_RDONLY)
    try:
        assert read_runtime_state(memory, place[0], version or 0).queue_is_locked() is False
    finally:
        os.close(memory)


def content(at: int, what: bytes) -> bytes:
    """Return the start of a `_PyRuntime` with `what` at byte `at`."""
    return (bytes(at) + what).ljust(SEARCHED_BYTES, b"\0")


@pytest.mark.parametrize(
    ("mutex", "locked"), [(0, False), (1, True), (2, False), (3, True), (4, None)]
)
def test_a_mutex(mutex: int, locked: bool | None) -> None:
    """3.13 and newer; its place differs between patch releases."""
    for at in (2648, 2672):
        state = RuntimeState(-1, content(at, struct.pack("<B3xiii", mutex, 5, 32, 0)), 0x030D00F0)
        assert state.queue_is_locked() is locked


def test_a_mutex_that_could_be_one_of_two() -> None:
    queue = struct.pack("<B3xiii", 1, 5, 32, 0)
    assert RuntimeState(-1, content(2648, queue + queue), 0x030D00F0).queue_is_locked() is None
    assert RuntimeState(-1, content(2652, queue), 0x030D00F0).queue_is_locked() is None


@pytest.mark.parametrize(("value", "locked"), [(1, False), (0, True), (7, None)])
@pytest.mark.parametrize("version", [0x030A0DF0, 0x030B07F0, 0x030C01F0])
def test_a_semaphore(version: int, value: int, locked: bool | None) -> None:
    """3.12 and older; the memory of this process is used as the target's."""
    semaphore = ctypes.create_string_buffer(struct.pack("<II", value, 0), 16)
    lock = ctypes.create_string_buffer(struct.pack("<Q", ctypes.addressof(semaphore)), 8)
    if version >> 16 == 0x030C:
        held = content(2024, lock.raw)
    else:
        at = {0x030A: (40, 80), 0x030B: (48, 112)}[version >> 16]
        held = content(at[0], struct.pack("<Q", ctypes.addressof(lock) - at[1]))
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        assert RuntimeState(memory, held, version).queue_is_locked() is locked
        assert RuntimeState(memory, content(0, b""), version).queue_is_locked() is None
    finally:
        os.close(memory)


def test_a_python_without_the_gil_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag of `_Py_DebugOffsets` marks such a build; the process in this test has a GIL, since
    builds without it are rare.
    """
    assert RuntimeState(
        -1, content(0, b"xdebugpy" + struct.pack("<QQ", 0x030D00F0, 1)), 0x030D00F0
    ).is_free_threaded()
    assert not RuntimeState(
        -1, content(0, b"xdebugpy" + struct.pack("<QQ", 0x030D00F0, 0)), 0x030D00F0
    ).is_free_threaded()
    assert not RuntimeState(
        -1, content(0, struct.pack("<QQQ", 1, 1, 1)), 0x030B00F0
    ).is_free_threaded()
    monkeypatch.setattr(RuntimeState, "is_free_threaded", lambda self: True)
    target = start(BUSY)
    memory = os.open(f"/proc/{target.pid}/mem", os.O_RDWR)
    try:
        with pytest.raises(CannotEnter, match="free-threaded"):
            enter_by_ptrace(
                Target(target.pid, memory, read_identity(target.pid)),
                "pass",
                time.monotonic_ns() + 10**10,
            )
    finally:
        os.close(memory)


def test_python_on_a_thread_that_is_not_the_main_thread(start: Start, tmp_path: Path) -> None:
    library = Path(sys.base_prefix, "lib", str(sysconfig.get_config_var("INSTSONAME")))
    if not shutil.which("gcc") or not library.is_file():
        pytest.skip("needs gcc and a shared libpython")
    (tmp_path / "host.c").write_text(HOST)
    options = [str(library), f"-Wl,-rpath,{library.parent}", "-pthread"]
    subprocess.run(["gcc", tmp_path / "host.c", "-o", tmp_path / "host", *options], check=True)
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    target = start(BUSY, python=str(tmp_path / "host"), env=environment)
    with pytest.raises(CannotEnter, match="not its main thread"):
        enter(target.pid, "pass")
    assert target.poll() is None


def test_a_child_that_another_thread_forked_is_entered(start: Start, tmp_path: Path) -> None:
    target = start("""
import os, threading, time
def fork():
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        while True: pass
print("ready", flush=True)
thread = threading.Thread(target=fork)
thread.start()
time.sleep(1000)
""")
    assert target.stdout is not None
    child = int(target.stdout.readline())
    try:
        enter(child, writing(tmp_path / "out"))
        wait_for_output(tmp_path / "out", "x")
    finally:
        os.kill(child, 9)
