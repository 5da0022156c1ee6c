"""A window that cannot be ended because a thread of the program gets no core: the program's
profiler and its exit do not wait.
"""

import ctypes
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.target_processes import attach, source_statuses, until

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


def hold(tid: int) -> None:
    """Stop one thread, in a state that is neither running nor asleep, until its process ends. This
    blocks the calling thread.
    """
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        assert ptrace(request, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(tid, WALL)
    os.waitpid(tid, WALL)


def record_program(mode: str, folder: Path) -> tuple[str, str]:
    """Return the last line of the program, and the state of `kernels`."""
    folder.mkdir()
    out = folder / "steps"
    command = [sys.executable, "-m", "tests.safety.targets.stuck_window", out, mode]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        until(lambda: out.exists() and out.read_text().count("\n") > 0, 60)
        threading.Thread(target=hold, args=(int(out.read_text()),), daemon=True).start()
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()
        answer = attach(process.pid, folder / "run", "--window", "seconds=1", seconds=40)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    return out.read_text().split("\n")[-2], source_statuses(answer)["kernels"]


@pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: stops one thread of the program by ptrace"
)
def test_the_programs_profile_and_its_exit_do_not_wait_for_a_window_that_cannot_be_ended(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(2) as pool:
        recordings = [
            pool.submit(record_program, mode, tmp_path / mode) for mode in ("profile", "end")
        ]
    profiled, ended = (recording.result() for recording in recordings)
    assert profiled == ("40", "unavailable")
    assert ended == ("step", "unavailable")
