"""Windows with the CUDA build of torch on a machine without a GPU (`make test-cuda-wheel`).

Kineto of this build requests CUPTI, which fails without a driver. What the target's stderr contains
then, and when a window is taken, can be tested without a device.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.target_processes import attach, source_reasons, source_statuses, until

PYTHON = Path(
    os.environ.get(
        "PERFSCOPE_CUDA_PYTHON", Path(__file__).parents[2] / ".venv-cuda" / "bin" / "python"
    )
)
PROGRAM = Path(__file__).with_name("looping.py")
DEVICE_NODES = """
mkdir {0} && cp -a /dev/null /dev/zero /dev/urandom /dev/random {0}
mkdir {0}/shm && touch {0}/nvidiactl
mount --rbind {0} /dev && exec "$@"
"""
"""A script that gives a program a /dev in which there seems to be a driver."""


@contextmanager
def program(folder: Path, seconds: float, *before: str) -> Iterator[tuple[int, Path]]:
    """Run the looping program; yield its pid, and the file of its stderr."""
    out, errors = folder / "steps", folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [*before, PYTHON, PROGRAM, out, str(seconds)], stderr=file, cwd=folder
        )
    try:
        until(lambda: out.exists() and out.read_text().count("\n") > 20, 120)
        yield process.pid, errors
    finally:
        process.kill()
        process.wait()


def windows(run: Path) -> list[dict[str, Any]]:
    """Return the rows of the windows in a run folder."""
    rows = [
        json.loads(line)
        for path in run.glob("streams/kernels@*/*")
        for line in path.read_text().splitlines()
    ]
    return [row for row in rows if "begin" in row]


def test_without_cupti_stderr_remains_empty_and_the_missing_kernels_are_reported(
    tmp_path: Path,
) -> None:
    with program(tmp_path, 0) as (pid, errors):
        answer = attach(pid, tmp_path / "run", seconds=6)
        assert errors.read_text() == ""
    assert source_statuses(answer)["kernels"] == "partial"
    assert "no kernels" in source_reasons(answer)["kernels"]
    assert [row["device"] for row in windows(tmp_path / "run")] == [True]


def test_with_a_visible_device_no_window_is_taken_before_cuda_is_initialized(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts another /dev for the program")
    script = DEVICE_NODES.format(tmp_path / "dev")
    with program(tmp_path, 25, "unshare", "--mount", "sh", "-ec", script, "sh") as (pid, errors):
        early = attach(pid, tmp_path / "early", seconds=4)
        answer = attach(pid, tmp_path / "run", seconds=30)
        assert errors.read_text() == ""
    assert source_statuses(early)["kernels"] == "unavailable"
    assert "not initialized" in source_reasons(early)["kernels"]
    assert windows(tmp_path / "early") == []
    assert source_statuses(answer)["kernels"] == "partial"
    assert [row["device"] for row in windows(tmp_path / "run")] == [True]
