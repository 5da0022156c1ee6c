"""Target processes for the tests of the entry package; each is ended after its test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.entry.target import Start


@pytest.fixture
def start() -> Iterator[Start]:
    """Return start(program, *arguments, python=...), which runs Python text until it is ready.

    The program prints "ready" as its first line.
    """
    started: list[subprocess.Popen[bytes]] = []

    def begin(
        program: str, *arguments: str, python: str = sys.executable, **options: object
    ) -> subprocess.Popen[bytes]:
        command = [python, "-c", program, *arguments]
        settings: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
        process: subprocess.Popen[bytes] = subprocess.Popen(command, **settings)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def python_3_14() -> str:
    """Return a CPython 3.14 or newer; skip the test if there is none."""
    found = os.environ.get("PERFSCOPE_PYTHON314") or shutil.which("python3.14")
    if not found:
        pytest.skip("no CPython 3.14 found: set PERFSCOPE_PYTHON314, or put python3.14 on PATH")
    return found
