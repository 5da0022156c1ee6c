"""Windows with the CUDA build of torch, on a machine without a GPU: `make test-cuda-wheel`, which
makes .venv-cuda.

Kineto of this build requests CUPTI, which fails without a driver: what the target's stderr shows,
and when a window comes, can be tested without a device.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.test_kernel_windows import kernels
from tests.running import attach, until

PYTHON = Path(
    os.environ.get(
        "PERFSCOPE_CUDA_PYTHON", Path(__file__).parents[2] / ".venv-cuda" / "bin" / "python"
    )
)
PROGRAM = Path(__file__).with_name("looping.py")
DEVICE_NODES = """
mkdir {0} && cp -a /dev/null /dev/zero /dev/urandom /dev/random {0} && mkdir {0}/shm && touch {0}/nvidiactl
mount --rbind {0} /dev && exec "$@"
"""  # noqa: E501
"""A /dev of the program's own, in which the driver seems to be there."""


@contextmanager
def program(folder: Path, seconds: float, *before: str) -> Iterator[tuple[int, Path]]:
    """The looping program: its pid, and the file that its stderr goes to."""
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
    """What the run folder says of its windows."""
    rows = [
        json.loads(line)
        for path in run.glob("streams/kernels@*/*")
        for line in path.read_text().splitlines()
    ]
    return [row for row in rows if "begin" in row]


def test_where_cupti_is_not_available_stderr_stays_empty_and_the_missing_kernels_are_named(
    tmp_path: Path,
) -> None:
    with program(tmp_path, 0) as (pid, errors):
        answer = attach(pid, tmp_path / "run", seconds=6)
        assert errors.read_text() == ""
    assert kernels(answer)["status"] == "partial" and "no kernels" in kernels(answer)["reason"]
    assert [row["device"] for row in windows(tmp_path / "run")] == [True]


def test_no_window_without_kernels_is_the_first_one_where_a_device_is_visible(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: gives the program a /dev of its own")
    script = DEVICE_NODES.format(tmp_path / "dev")
    with program(tmp_path, 25, "unshare", "--mount", "sh", "-ec", script, "sh") as (pid, errors):
        early = attach(pid, tmp_path / "early", seconds=4)
        answer = attach(pid, tmp_path / "run", seconds=30)
        assert errors.read_text() == ""
    assert (
        kernels(early)["status"] == "unavailable" and "not initialized" in kernels(early)["reason"]
    )
    assert windows(tmp_path / "early") == []
    assert kernels(answer)["status"] == "partial"
    assert [row["device"] for row in windows(tmp_path / "run")] == [True]
