"""A window that cannot be ended, as a thread of the program gets no core: the program's profiler and its end do not wait."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.agent.test_kernel_windows import kernels
from tests.running import attach, until
from tests.safety.stuck import STUCK_S


def run(mode: str, folder: Path) -> tuple[str, str]:
    """Return the last line of the program, which has to end while its thread is still stuck, and the state of `kernels`."""
    folder.mkdir()
    out = folder / "steps"
    process = subprocess.Popen([sys.executable, "-m", "tests.safety.stuck", out, mode], stderr=subprocess.DEVNULL)
    try:
        until(lambda: out.exists() and out.read_text().count("\n") > 20, 60)
        answer = attach(process.pid, folder / "run", "--window", "seconds=1", seconds=STUCK_S / 2)
        assert process.wait(STUCK_S / 4) == 0
    finally:
        process.kill()
        process.wait()
    return out.read_text().split("\n")[-2], kernels(answer)["status"]


def test_a_profile_of_the_program_and_its_end_do_not_wait_for_a_window_that_cannot_be_ended(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, mode, tmp_path / mode) for mode in ("profile", "end")]
    assert [one.result() for one in both] == [("40", "unavailable"), ("step", "unavailable")]
