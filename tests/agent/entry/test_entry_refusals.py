"""Each refusal, with a real process that causes it; each line names what to do."""

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.entry import check_entry, enter, ptrace
from perfscope.agent.entry.process_identity import Target, read_identity
from perfscope.agent.entry.refusals import refused_by_kernel
from perfscope.agent.entry.symbols import path_in_target, python_files
from perfscope.errors import CannotEnter
from tests.agent.entry.target import BUSY, READY, SLEEP, Start, eventually, line_of

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def reason(pid: int) -> str:
    """Return the line of the refusal; fail if there is none."""
    with pytest.raises(CannotEnter) as refusal:
        check_entry(pid)
    line = str(refusal.value)
    assert "\n" not in line
    return line


def assert_names(line: str, *things: str) -> None:
    """Assert that a refusal names processes, users and commands."""
    assert [thing for thing in things if thing not in line] == [], line


def as_nobody(ask: Callable[[], object]) -> str:
    """Return the line of the refusal for the user nobody."""

    def become_and_ask() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        ask()

    return in_child(become_and_ask)


def in_child(ask: Callable[[], object]) -> str:
    """Return the line of the refusal in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ask()
        except CannotEnter as refusal:
            os.write(writing, str(refusal).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_a_python_process_is_not_refused(start: Start) -> None:
    check_entry(start(BUSY).pid)
    check_entry(start(SLEEP).pid)


def test_no_such_pid() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert_names(reason(child.pid), f"pid {child.pid}", "`perfscope ps`")


VFORK = """
#include <stdio.h>
#include <unistd.h>
int main(void) {
    if (!vfork()) {
        dprintf(1, "%d\\n", getpid());
        pause();
        _exit(0);
    }
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_a_child_that_shares_its_parents_memory(tmp_path: Path) -> None:
    (tmp_path / "vfork.c").write_text(VFORK)
    subprocess.run(["cc", "-w", "vfork.c", "-o", "vfork"], cwd=tmp_path, check=True)
    parent = subprocess.Popen([tmp_path / "vfork"], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert_names(reason(child), f"pid {child} ", f"attach to pid {parent.pid}")
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()


def test_a_zombie() -> None:
    child = subprocess.Popen(["true"])
    eventually(lambda: "State:\tZ" in Path(f"/proc/{child.pid}/status").read_text(), "the zombie")
    assert_names(reason(child.pid), f"pid {child.pid} ", f"pid {os.getpid()}:", "`perfscope ps`")
    child.wait()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Return run(program, ...), which starts a program and returns its pid once it waits."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*command: str | Path, **options: Any) -> int:
        started.append(subprocess.Popen(command, **options))
        program = os.path.realpath(shutil.which(command[0]) or command[0])
        eventually(lambda: os.readlink(f"/proc/{started[-1].pid}/exe") == program, "its program")
        eventually(
            lambda: "sleep" in Path(f"/proc/{started[-1].pid}/status").read_text(), "its wait"
        )
        return started[-1].pid

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_not_python(run: Callable[..., int]) -> None:
    pid = run("sleep", "1000")
    assert_names(reason(pid), f"pid {pid} (sleep)", "`perfscope ps`")


def test_stopped_by_a_signal(start: Start) -> None:
    target = start(BUSY)
    target.send_signal(signal.SIGSTOP)
    eventually(lambda: "State:\tT" in Path(f"/proc/{target.pid}/status").read_text(), "the stop")
    assert f"`kill -CONT {target.pid}`" in reason(target.pid)
    target.send_signal(signal.SIGCONT)
    eventually(
        lambda: "State:\tR" in Path(f"/proc/{target.pid}/status").read_text(), "it running on"
    )
    enter(target.pid, "pass")


def test_traced_by_another(start: Start) -> None:
    target = start(BUSY)
    let_go = threading.Event()
    held = threading.Event()

    def hold() -> None:
        ptrace.seize(target.pid)
        held.set()
        let_go.wait()

    tracer = threading.Thread(target=hold)
    tracer.start()
    held.wait()
    try:
        tid = tracer.native_id
        line = reason(target.pid)
        assert f"pid {target.pid} " in line
        assert f"end pid {tid} " in line or f"end pid {os.getpid()} " in line
    finally:
        let_go.set()
        tracer.join()
    eventually(
        lambda: "TracerPid:\t0" in Path(f"/proc/{target.pid}/status").read_text(),
        "the tracer's end",
    )
    check_entry(target.pid)


@as_root
def test_another_users_process(start: Start) -> None:
    target = start(BUSY)
    line = as_nobody(lambda: check_entry(target.pid))
    assert_names(line, f"pid {target.pid} ", "user root", "sudo")


@as_root
def test_a_process_that_made_itself_undumpable(start: Start) -> None:
    program = f"import ctypes, os; os.setuid({NOBODY}); ctypes.CDLL(None).prctl(4, 0)\n{BUSY}"
    target = start(program)
    line = as_nobody(lambda: check_entry(target.pid))
    assert str(target.pid) in line
    assert any(fix in line for fix in ("with sudo", "--cap-add SYS_PTRACE"))


@as_root
def test_a_setuid_program(run: Callable[..., int], tmp_path: Path) -> None:
    program = tmp_path / "sleeper"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    program.chmod(0o4755)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    pid = run(program, "1000", user=NOBODY)
    if f"Uid:\t{NOBODY}\t0" not in Path(f"/proc/{pid}/status").read_text():
        pytest.skip("the temporary folder is mounted nosuid")
    assert_names(as_nobody(lambda: check_entry(pid)), f"pid {pid} ", "setuid", "sudo")


def test_the_container_hint_names_both_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test sets the environment variable of Kubernetes by which a container is detected."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    line = (
        as_nobody(lambda: (_ for _ in ()).throw(refused_by_kernel(1)))
        if os.geteuid() == 0
        else str(refused_by_kernel(1))
    )
    assert "`--cap-add SYS_PTRACE`" in line
    assert "`securityContext.capabilities.add: [SYS_PTRACE]`" in line


def test_ptrace_forbidden_by_a_seccomp_filter(start: Start) -> None:
    """A child sets the filter of a strict container on itself: ptrace returns EPERM."""
    target = start(BUSY)

    def ask() -> None:
        load, equal, give = 0x20, 0x15, 0x06
        steps = [
            (load, 0, 0, 0),
            (equal, 0, 1, 101),
            (give, 0, 0, 0x00050001),
            (give, 0, 0, 0x7FFF0000),
        ]
        program = ctypes.create_string_buffer(
            b"".join(struct.pack("<HBBI", *step) for step in steps)
        )
        header = ctypes.create_string_buffer(
            struct.pack("<H6xQ", len(steps), ctypes.addressof(program))
        )
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
        assert libc.prctl(22, 2, header) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        check_entry(target.pid)

    line = in_child(ask)
    assert_names(line, "seccomp", "`--cap-add SYS_PTRACE`")


def elf_32() -> bytes:
    """Return a 32-bit program that only calls pause()."""
    code = bytes.fromhex("b81d000000cd80ebf7")  # mov eax, 29; int 0x80; jmp back
    base, size = 0x08048000, 84 + len(code)
    header = struct.pack(
        "<4s5B7x2HI3II6H",
        b"\x7fELF",
        1,
        1,
        1,
        0,
        0,
        2,
        3,
        1,
        base + 84,
        52,
        0,
        0,
        52,
        32,
        1,
        0,
        0,
        0,
    )
    return header + struct.pack("<8I", 1, 0, base, base, size, size, 5, 0x1000) + code


def test_a_32_bit_process(run: Callable[..., int], tmp_path: Path) -> None:
    program = tmp_path / "python3"
    program.write_bytes(elf_32())
    program.chmod(0o755)
    try:
        pid = run(program)
    except OSError:
        pytest.skip("this kernel runs no 32-bit programs")
    assert_names(reason(pid), f"pid {pid} ", "32-bit", "`perfscope run`")


def test_a_python_without_symbols(run: Callable[..., int], tmp_path: Path) -> None:
    """A program with the name python3.11 and none of its symbols."""
    program = tmp_path / "python3.11"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    pid = run(program, "1000")
    assert_names(reason(pid), f"pid {pid} ", "symbols", "`perfscope run`")


def test_a_target_that_exits_during_the_entry(start: Start) -> None:
    for delay_s in (0.0, 0.002, 0.01):
        target = start(SLEEP)
        # Not Popen.kill: it waits, and would take the tracer's news away.
        killer = threading.Timer(delay_s, os.kill, (target.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(CannotEnter, match=f"pid {target.pid} has exited"):
            for _ in range(100):
                enter(target.pid, "pass")
        killer.join()
        assert target.wait() == -signal.SIGKILL


def test_a_process_that_ends_is_gone_not_changed(start: Start) -> None:
    target = start(SLEEP)
    memory = os.open(f"/proc/{target.pid}/mem", os.O_RDWR)
    entered = Target(target.pid, memory, read_identity(target.pid))
    target.kill()
    os.waitid(
        os.P_PID, target.pid, os.WEXITED | os.WNOWAIT
    )  # a zombie: its /proc/PID/stat is still there
    with pytest.raises(ProcessLookupError):
        entered.refuse_if_changed()
    os.close(memory)


def test_a_target_that_may_not_map_memory(start: Start) -> None:
    limit = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1,"
        " resource.getrlimit(resource.RLIMIT_AS)[1]))"
    )
    target = start(f"{limit}; {READY}\nwhile True: pass")
    with pytest.raises(CannotEnter, match="`ulimit -v`"):
        enter(target.pid, "pass")
    assert target.poll() is None


@as_root
@pytest.mark.parametrize("inside", [False, True], ids=["its files outside", "its files inside"])
def test_a_process_with_another_root_directory_is_entered(
    start: Start, tmp_path: Path, inside: bool
) -> None:
    root = sys.base_prefix if inside else str(tmp_path)
    target = start(
        f"import os, sys\nos.chroot({root!r})\n{READY}\nwhile not hasattr(sys, 'entered'):"
        " pass\nprint('entered', flush=True)"
    )
    files = python_files(target.pid)
    assert files != []
    if inside:
        paths = [path_in_target(target.pid, file.path) for file in files]
        assert all(
            Path(root, path.lstrip("/")).exists() and path != file.path
            for path, file in zip(paths, files, strict=True)
        )
    enter(target.pid, "import sys; sys.entered = True")
    assert line_of(target) == "entered"


def test_stopped_by_a_signal_during_the_entry(start: Start) -> None:
    target = start(BUSY)

    def stop_when_traced() -> None:
        eventually(
            lambda: "TracerPid:\t0" not in Path(f"/proc/{target.pid}/status").read_text(),
            "the tracer",
        )
        os.kill(target.pid, signal.SIGSTOP)

    stopper = threading.Thread(target=stop_when_traced)
    stopper.start()
    refused = ""
    for _ in range(40):
        try:
            enter(target.pid, "pass", deadline_s=1)
        except CannotEnter as refusal:
            refused = str(refusal)
            break
    stopper.join()
    assert f"`kill -CONT {target.pid}`" in refused
    assert target.poll() is None
    target.send_signal(signal.SIGCONT)
    eventually(
        lambda: "State:\tR" in Path(f"/proc/{target.pid}/status").read_text(), "it running on"
    )
    enter(target.pid, "pass")
