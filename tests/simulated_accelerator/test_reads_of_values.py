"""Programs that read a value of each step, which waits for the device: in which budget it ends."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfscope.traces.load import load_trace
from tests.simulated_accelerator import PROGRAMS, environment
from tests.target_processes import perfscope

PRODUCT = "aten::addmm 20000\n"
TIMED_BY_THE_PROBE = ("item", "float", "int", "bool")


@contextmanager
def reading(folder: Path, *ways: str) -> Iterator[int]:
    """Run the program, whose forward pass takes 20 ms on the device; yield its pid."""
    script = folder / "durations"
    script.write_text(PRODUCT)
    process = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "reading.py"), *ways],
        env=environment(script=script),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "step\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def attached(pid: int, run: Path, depth: str) -> dict[str, Any]:
    """Attach for five seconds, and return the diagnosis."""
    command = perfscope("attach", pid, "--json", "--out", run, "--duration", 5, "--depth", depth)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    diagnosis: dict[str, Any] = json.loads(done.stdout)
    return diagnosis


def test_reading_a_number_is_waiting_for_the_device(tmp_path: Path) -> None:
    with reading(tmp_path, *TIMED_BY_THE_PROBE) as pid:
        diagnosis = attached(pid, tmp_path / "run", "probe")
    ranges = load_trace(tmp_path / "run").table("ranges")
    assert set(ranges["name"][ranges["category"] == "sync"]) == set(TIMED_BY_THE_PROBE)
    shares = {entry["category"]: entry["share"] for entry in diagnosis["time_budget"]}
    assert 0.3 < shares["device-compute"] < 0.6
    assert shares.get("other-idle", 0.0) < 0.05
    # Without counters and a window the device may work while the host computes.
    assert {finding["severity"] for finding in diagnosis["findings"]} <= {"info"}
    assert diagnosis["verdict"]["id"] == "unknown"


def test_a_window_shows_waits_that_the_probe_does_not_time(tmp_path: Path) -> None:
    with reading(tmp_path, "mask") as pid:
        diagnosis = attached(pid, tmp_path / "run", "kernels")
    shares = {entry["category"]: entry["share"] for entry in diagnosis["time_budget"]}
    assert 0.3 < shares["device-compute"] < 0.6
    assert shares["sync-wait"] > 0.3
    assert "host-sync" in {finding["id"] for finding in diagnosis["findings"]}
