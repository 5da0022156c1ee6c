"""How each kind of process is entered; the source runs once."""

import fcntl
import os
import shutil
import subprocess
import termios
import threading
import time
from pathlib import Path

import psutil
import pytest

from perfscope.agent.entry import enter
from perfscope.agent.entry.idle_thread import IdleWatch
from perfscope.errors import CannotEnter
from tests.agent.entry.target import (
    BUSY,
    READY,
    SLEEP,
    Footprint,
    Start,
    eventually,
    feed,
    line_of,
    read_output,
    wait_for_output,
    writing,
)

IDLE = {
    "sleep": "import time; READY; time.sleep(1000)",
    "join": (
        "import threading, time; t = threading.Thread(target=time.sleep, args=(1000,)); t.start();"
        " READY; t.join()"
    ),
    "lock": "import threading; l = threading.Lock(); l.acquire(); READY; l.acquire()",
    "event": "import threading; READY; threading.Event().wait()",
    "pipe": "import os; r, w = os.pipe(); READY; os.read(r, 1)",
    "accept": "import socket; s = socket.create_server(('127.0.0.1', 0)); READY; s.accept()",
    "epoll": "import select; e = select.epoll(); READY; e.poll()",
    "epoll with a time limit": "import select; e = select.epoll(); READY; e.poll(500)",
    "select": "import os, select; r, w = os.pipe(); READY; select.select([r], [], [])",
    "poll": (
        "import os, select; r, w = os.pipe(); p = select.poll(); p.register(r); READY; p.poll()"
    ),
    "child": "import subprocess; p = subprocess.Popen(['sleep', '1000']); READY; p.wait()",
    "asyncio": "import asyncio; READY; asyncio.run(asyncio.sleep(1000))",
    "signals blocked": (
        "import signal as s; s.pthread_sigmask(0, s.valid_signals()); READY; s.sigwait({10})"
    ),
}


def enter_repeatedly(pid: int, out: Path, times: int) -> list[str]:
    """Enter several times, each time after the source has run; return the ways."""
    ways = []
    for count in range(1, times + 1):
        ways.append(enter(pid, writing(out)).way)
        wait_for_output(out, "x" * count)
    return ways


def test_a_busy_main_thread_is_entered_by_a_pending_call(start: Start, tmp_path: Path) -> None:
    target = start(BUSY)
    before = Footprint(target.pid)
    assert set(enter_repeatedly(target.pid, tmp_path / "out", 20)) == {"pending-call"}
    eventually(lambda: Footprint(target.pid) == before, "threads, descriptors and memory as before")
    assert target.poll() is None


@pytest.mark.parametrize("wait", IDLE)
def test_an_idle_main_thread_is_entered_directly(start: Start, tmp_path: Path, wait: str) -> None:
    target = start(IDLE[wait].replace("READY", READY))
    eventually(lambda: IdleWatch(target.pid).settle() is not None, "its wait")
    before = Footprint(target.pid)
    out, ways = tmp_path / "out", []
    for count in range(1, 5):
        # On a busy machine the thread may not be back in its wait after an entry. Then a pending
        # call is queued as well, and one that finds the source started gives its memory back when
        # the thread wakes, which some of these never do.
        eventually(lambda: IdleWatch(target.pid).settle() is not None, "its wait")
        ways.append(enter(target.pid, writing(out)).way)
        wait_for_output(out, "x" * count)
    assert "idle-call" in ways
    eventually(lambda: Footprint(target.pid) == before, "threads, descriptors and memory as before")
    assert target.poll() is None
    for child in psutil.Process(target.pid).children():
        child.kill()


def test_a_main_thread_that_waits_for_a_lock_is_entered_while_another_holds_the_gil(
    start: Start, tmp_path: Path
) -> None:
    target = start(f"""
import threading
def hog():
    n = 0
    while True:
        n += 1
threading.Thread(target=hog, daemon=True).start()
lock = threading.Lock()
lock.acquire()
{READY}
lock.acquire()
""")
    assert "idle-call" in enter_repeatedly(target.pid, tmp_path / "out", 5)


def count_unread_bytes(target: subprocess.Popen[bytes]) -> int:
    """Return how many bytes of its input the target has not read."""
    assert target.stdin is not None
    return int.from_bytes(fcntl.ioctl(target.stdin, termios.FIONREAD, bytes(4)), "little")


def test_a_queued_call_of_a_thread_that_turns_idle_runs_once(start: Start, tmp_path: Path) -> None:
    # One call into C: it wakes for each piece and reaches no bytecode in between.
    target = start(
        f"import sys; {READY}; sys.stdin.buffer.read(40); print('read', flush=True)\nwhile True:"
        " pass"
    )
    before = Footprint(target.pid)
    feed(target, b"x")
    eventually(lambda: count_unread_bytes(target) == 0, "the target inside its read")

    def trickle() -> None:
        for _ in range(20):
            feed(target, b"x")
            time.sleep(0.02)

    feeder = threading.Thread(target=trickle)
    feeder.start()
    entry = enter(target.pid, writing(tmp_path / "out"))
    feeder.join()
    assert (entry.way, entry.attempts) == ("idle-call", 2)
    wait_for_output(tmp_path / "out", "x")
    feed(target, b"x" * 40)
    assert line_of(target) == "read"
    eventually(lambda: Footprint(target.pid) == before, "the memory given back by the queued call")
    assert read_output(tmp_path / "out") == "x"


def test_a_call_that_never_ran_is_withdrawn(start: Start, tmp_path: Path) -> None:
    # One loop in C that holds the GIL for seconds; it prints "ready" from inside.
    target = start("""
import itertools, os
sum(itertools.chain(map(os.write, [1], [b"ready\\n"]), range(60_000_000)))
print("counted", flush=True)
while True:
    pass
""")
    before = Footprint(target.pid)
    with pytest.raises(CannotEnter, match="reached no safe point in time"):
        enter(target.pid, writing(tmp_path / "out"), deadline_s=0.1)
    assert line_of(target) == "counted"
    eventually(lambda: Footprint(target.pid) == before, "the memory given back")
    assert read_output(tmp_path / "out") == ""


TORCH = """
import torch
class Items(torch.utils.data.Dataset):
    def __len__(self): return 10**9
    def __getitem__(self, index): return torch.randn(64)
loader = torch.utils.data.DataLoader(Items(), batch_size=16, num_workers=2)
model = torch.nn.Linear(64, 64)
for number, batch in enumerate(loader):
    model(batch).sum().backward()
    if number == 3:
        print("ready", flush=True)
"""


def test_a_training_loop_and_its_loader_workers_are_entered(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    target = start(TORCH)
    workers = [child.pid for child in psutil.Process(target.pid).children()]
    assert len(workers) == 2
    for pid in (target.pid, *workers):
        enter_repeatedly(pid, tmp_path / str(pid), 5)
    assert target.poll() is None
    assert [child.pid for child in psutil.Process(target.pid).children()] == workers


def test_a_long_source_runs_to_its_end(start: Start, tmp_path: Path) -> None:
    target = start(BUSY)
    long = "\n".join(f"name_{number} = '{'é' * 20} {number}'" for number in range(5000))
    assert len(long.encode()) > 200_000
    enter(target.pid, f"{long}\n{writing(tmp_path / 'out', 'done')}; out = name_4999")
    wait_for_output(tmp_path / "out", "done")


@pytest.mark.parametrize("program", [BUSY, SLEEP], ids=["busy", "idle"])
@pytest.mark.parametrize("python", ["python3.10", "python3.11", "python3.12", "python3.13"])
def test_other_versions_of_python_are_entered(
    start: Start, tmp_path: Path, python: str, program: str
) -> None:
    found = shutil.which(python)
    if not found or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no {python} on PATH")
    target = start(program, python=found)
    enter_repeatedly(target.pid, tmp_path / "out", 3)
    assert target.poll() is None


def test_a_source_that_is_not_python_raises_syntax_error(start: Start) -> None:
    target = start(BUSY)
    with pytest.raises(SyntaxError):
        enter(target.pid, "def")
    assert target.poll() is None


def test_the_source_sees_the_target_and_has_separate_globals(start: Start, tmp_path: Path) -> None:
    target = start(
        f"mark = 41\n{READY}\nbefore = None\nbefore = set(globals())\nwhile set(globals()) =="
        " before: pass"
    )
    seen = "f'{os.getpid()} {__main__.mark} {__name__}'"
    path = str(tmp_path / "out")
    enter(target.pid, f"import os, __main__\nwith open({path!r}, 'w') as out: out.write({seen})")
    wait_for_output(tmp_path / "out", f"{target.pid} 41 __perfscope__")
    assert target.poll() is None
    assert os.getpid() != target.pid
