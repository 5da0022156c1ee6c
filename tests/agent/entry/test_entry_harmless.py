"""Entries of programs whose behavior must not change."""

import ctypes
import errno
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perfscope.agent.entry import enter
from perfscope.agent.entry.idle_thread import IDLE_NS, current_wait
from perfscope.errors import CannotEnter
from tests.agent.entry.target import (
    BUSY,
    READY,
    SLEEP,
    Start,
    eventually,
    feed,
    line_of,
    wait_for_output,
    writing,
)


@pytest.mark.parametrize(
    "source", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0", "import os; os.nothing"]
)
@pytest.mark.parametrize("program", [BUSY, SLEEP], ids=["busy", "idle"])
def test_what_the_source_raises_is_dropped(
    start: Start, tmp_path: Path, program: str, source: str
) -> None:
    target = start(program, stderr=subprocess.PIPE)
    enter(target.pid, source)
    enter(target.pid, writing(tmp_path / "out"))
    wait_for_output(tmp_path / "out", "x")
    assert target.poll() is None
    target.kill()
    assert target.stderr is not None
    assert target.stderr.read() == b""


def test_a_sleep_lasts_as_long_as_requested(start: Start) -> None:
    target = start(
        f"import time\n{READY}\nt = time.monotonic()\ntime.sleep(2)\nprint(time.monotonic() - t,"
        " flush=True)"
    )
    for _ in range(4):
        enter(target.pid, "pass")
    slept_s = float(line_of(target))
    assert 2.0 <= slept_s < 3.0  # if an entry restarted the sleep, it would last at least 3 s


C_WAITS = {
    "nanosleep": (
        "t = (ctypes.c_long * 2)(2, 0); ctypes.set_errno(0); print(c.nanosleep(t, None),"
        " ctypes.get_errno())"
    ),
    "usleep": "print(c.usleep(2_000_000), ctypes.get_errno())",
    "poll": "p = (ctypes.c_int * 2)(0, 1); print(c.poll(p, 1, 60_000), ctypes.get_errno())",
    "read": "b = ctypes.create_string_buffer(1); print(c.read(0, b, 1), ctypes.get_errno())",
    "epoll_wait": (
        "e = select.epoll(); e.register(0, 1); b = ctypes.create_string_buffer(64)\n"
        "print(c.epoll_wait(e.fileno(), b, 1, -1), ctypes.get_errno())"
    ),
}


@pytest.mark.parametrize("wait", C_WAITS)
def test_a_wait_in_c_is_not_cut_short(start: Start, wait: str) -> None:
    """C code that does not handle EINTR: a sleep returns 0, other waits return 1, errno is 0."""
    program = (
        "import ctypes, select\nc = ctypes.CDLL(None,"
        f" use_errno=True)\n{READY}\n{C_WAITS[wait]}\nprint('', flush=True)"
    )
    target = start(program)
    for _ in range(3):
        enter(target.pid, "pass")
    feed(target, b"x")
    assert line_of(target) == ("0 0" if "sleep" in wait else "1 0")


LIMIT_S = 4
LIMITED_WAITS = {
    "epoll_wait": "e = select.epoll(); r = c.epoll_wait(e.fileno(), b, 1, LIMIT_S * 1000)",
    "semtimedop": (
        "s = c.semget(0, 1, 0o1600); t = (ctypes.c_long * 2)(LIMIT_S, 0)\nr = c.semtimedop(s,"
        " struct.pack('Hhh', 0, -1, 0), 1, t); e = ctypes.get_errno(); c.semctl(s, 0, 0);"
        " ctypes.set_errno(e)"
    ),
    "sigtimedwait": (
        "m = (ctypes.c_ulong * 16)(1 << 9); t = (ctypes.c_long * 2)(LIMIT_S, 0)\n"
        "signal.pthread_sigmask(0, {10}); r = c.sigtimedwait(m, None, t)"
    ),
}
OUTCOMES = {
    "epoll_wait": (0, 0),
    "semtimedop": (-1, errno.EAGAIN),
    "sigtimedwait": (-1, errno.EAGAIN),
}


@pytest.mark.parametrize("wait", LIMITED_WAITS)
def test_a_wait_with_a_limit_is_not_cut_short_and_ends_in_time(start: Start, wait: str) -> None:
    """The kernel ends these waits with EINTR at any stop. The result is still that of the time
    limit, and the limit does not start again.
    """
    target = start(f"""
import ctypes, select, signal, struct, time
LIMIT_S = {LIMIT_S}
c = ctypes.CDLL(None, use_errno=True)
b = ctypes.create_string_buffer(64)
{READY}
ctypes.set_errno(0)
began = time.monotonic()
{LIMITED_WAITS[wait]}
print(r, ctypes.get_errno(), time.monotonic() - began, flush=True)
""")
    for _ in range(2):
        time.sleep(1.0)  # a limit that starts again would end this much later
        assert enter(target.pid, "pass").way == "idle-call"
    result, error, took_s = line_of(target).split()
    assert (int(result), int(error)) == OUTCOMES[wait]
    assert LIMIT_S - 0.1 < float(took_s) < LIMIT_S + 0.9


UNLIMITED_WAITS = {
    "semop": (
        "s = c.semget(0, 1, 0o1600); print('waits', s, flush=True); r = c.semop(s,"
        " struct.pack('Hhh', 0, -1, 0), 1)"
    ),
    "recv": (
        "x, y = socket.socketpair(); x.setsockopt(1, socket.SO_RCVTIMEO, struct.pack('ll', 600,"
        " 0))\nthreading.Thread(target=lambda: (sys.stdin.read(1), y.send(b'x'))).start();"
        " print('waits', 0, flush=True)\nr = c.recv(x.fileno(), b, 8, 0)"
    ),
    "accept": (
        "x = socket.create_server(('127.0.0.1', 0)); x.setsockopt(1, socket.SO_RCVTIMEO,"
        " struct.pack('ll', 600, 0))\nthreading.Thread(target=lambda: (sys.stdin.read(1),"
        " socket.create_connection(x.getsockname()))).start()\nprint('waits', 0, flush=True); r ="
        " min(c.accept(x.fileno(), None, None), 1)"
    ),
}
CALLS_OF_WAITS = {"semop": (65, 220), "recv": (45,), "accept": (43,)}


def waits_in(pid: int) -> int | None:
    """Return the number of the system call in which the main thread waits."""
    wait = current_wait(pid)
    return wait.call if wait else None


@pytest.mark.parametrize("wait", UNLIMITED_WAITS)
def test_a_wait_that_a_stop_would_end_continues(start: Start, wait: str) -> None:
    target = start(f"""
import ctypes, socket, struct, sys, threading
c = ctypes.CDLL(None, use_errno=True)
b = ctypes.create_string_buffer(64)
{READY}
ctypes.set_errno(0)
{UNLIMITED_WAITS[wait]}
print(r, ctypes.get_errno(), flush=True)
""")
    word, semaphores = line_of(target).split()
    assert word == "waits"
    eventually(lambda: waits_in(target.pid) in CALLS_OF_WAITS[wait], f"{wait} to be called")
    for _ in range(2):
        assert enter(target.pid, "pass").way == "idle-call"
    if wait == "semop":
        semctl = ctypes.CDLL(None).semctl
        assert semctl(int(semaphores), 0, 16, 1) == 0  # SETVAL
        assert line_of(target) == "0 0"
        semctl(int(semaphores), 0, 0)
    else:
        feed(target, b"x")
        assert line_of(target) == "1 0"


def test_arithmetic_gives_the_same_result(start: Start) -> None:
    program = f"""
import math, sys
def work():
    total = 0.0
    for number in range(1, 3_000_000):
        total += math.sin(number) * math.sqrt(number) / (1.0 + total * 1e-9)
    return total
alone = work()
{READY}
while True:
    print(work() == alone, flush=True)
"""
    target = start(program)
    for _ in range(60):
        enter(target.pid, "pass")
    assert [line_of(target) for _ in range(3)] == ["True"] * 3


RAISING = """
import signal, time
class Terminated(Exception): pass
def raise_terminated(number, frame): raise Terminated
signal.signal(signal.SIGTERM, raise_terminated)
lines, printed = ["ready"], 0
while True:
    try:
        while printed < len(lines):
            printed += 1
            print(lines[printed - 1], flush=True)
        while True:
            WAIT
    except (Terminated, KeyboardInterrupt) as error:
        lines.append(type(error).__name__)
"""
RAISED = {signal.SIGTERM: "Terminated", signal.SIGINT: "KeyboardInterrupt"}


def interrupt_entry(target: subprocess.Popen[bytes], out: Path, delay_s: float) -> None:
    """Send SIGTERM, then SIGINT, each `delay_s` after the beginning of an entry."""
    for number, name in RAISED.items():
        if delay_s >= IDLE_NS / 1e9:
            # Python itself loses the wake-up of a signal that arrives after its last check for
            # signals and before the system call.
            eventually(lambda: current_wait(target.pid) is not None, "the target's wait")
        entering = threading.Thread(target=enter, args=(target.pid, writing(out)))
        entering.start()
        time.sleep(delay_s)
        os.kill(target.pid, number)
        assert line_of(target) == name
        entering.join()


def test_signals_during_entries_of_a_busy_target_reach_the_users_code(
    start: Start, tmp_path: Path
) -> None:
    """The signals arrive during the checks of an entry, its stop, or the work of its thread."""
    target = start(RAISING.replace("WAIT", "sum(range(100))"))
    for number in range(20):
        interrupt_entry(target, tmp_path / "out", 0.0006 * number)
    wait_for_output(tmp_path / "out", "x" * 40)


@pytest.mark.parametrize("wait", ["time.sleep(1000)", "signal.pause()"])
def test_signals_during_entries_of_an_idle_target_reach_the_users_code(
    start: Start, tmp_path: Path, wait: str
) -> None:
    """Several targets at once: each entry first observes its target for a fifth of a second."""
    targets = [start(RAISING.replace("WAIT", wait)) for _ in range(4)]

    def interrupt_entries(index: int) -> None:
        target, out = targets[index], tmp_path / f"out{index}"
        for number in range(index, 20, len(targets)):
            interrupt_entry(target, out, IDLE_NS / 1e9 + 0.001 * number)
        wait_for_output(out, "x" * 10)

    with ThreadPoolExecutor(len(targets)) as pool:
        list(pool.map(interrupt_entries, range(len(targets))))


def test_a_signal_is_delivered_with_its_value(start: Start) -> None:
    target = start(f"""
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
{READY}
while True:
    got = signal.sigwaitinfo({{signal.SIGUSR1}})
    print(got.si_signo, got.si_pid, flush=True)
""")
    for _ in range(20):
        os.kill(target.pid, signal.SIGUSR1)
        enter(target.pid, "pass")
        assert line_of(target) == f"{int(signal.SIGUSR1)} {os.getpid()}"


def test_children_forked_meanwhile_do_not_run_the_source(start: Start, tmp_path: Path) -> None:
    target = start(f"""
import os
{READY}
while True:
    child = os.fork()
    if child == 0:
        sum(range(2000))
        os._exit(0)
    if os.waitpid(child, 0)[1]: print("a child failed", flush=True)
""")
    out = tmp_path / "out"
    source = f"import os\nwith open({str(out)!r}, 'a') as out: out.write(f'{{os.getpid()}} ')"
    for count in range(1, 41):
        enter(target.pid, source)
        wait_for_output(out, f"{target.pid} " * count)
    target.kill()
    assert line_of(target) == ""


@pytest.mark.parametrize("life_s", [0.0, 0.01, 0.03, 0.1])
def test_a_target_that_ends_meanwhile_ends_as_it_would_have(start: Start, life_s: float) -> None:
    for _ in range(5):
        target = start(
            f"import sys, time\n{READY}\nt = time.monotonic()\nwhile time.monotonic() - t <"
            f" {life_s}: pass\nsys.exit(7)"
        )
        for _ in range(40):
            try:
                enter(target.pid, "import time\nfor n in range(100): time.sleep(0.002)")
            except CannotEnter:
                break
        assert target.wait() == 7


def test_no_tracer_is_left(start: Start) -> None:
    target = start(BUSY)
    enter(target.pid, "pass")
    assert "TracerPid:\t0" in Path(f"/proc/{target.pid}/status").read_text()
