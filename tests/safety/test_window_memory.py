"""A range that is open at the end of one profiling session and closes in the next one writes into freed memory.

perfscope must not let that happen: one session per process, and another one only after a session that left nothing open.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.agent.test_kernel_windows import followed, kernels
from tests.running import attach, until

HERE = Path(__file__).parent
HAS_THE_DEFECT = torch.__version__.startswith("2.13.")


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that keeps freed blocks, built."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("preload") / "freed_blocks.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, HERE / "freed_blocks.c", "-ldl"], check=True)
    return str(library)


def program(preload: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.safety.poisoned", *arguments]
    return subprocess.Popen(command, env={**os.environ, "LD_PRELOAD": preload}, text=True, **options)


@contextmanager
def training(preload: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """A program that trains inside ranges of its own: its pid and its output."""
    out = folder / "steps"
    process = program(preload, "train", str(out))
    try:
        until(lambda: out.exists() and out.read_text().count("\n") > 20, 60)
        yield process.pid, out
    finally:
        process.kill()
        process.wait()


def written_after_free(out: Path) -> tuple[int, int]:
    """Stop the program: how many freed blocks were kept, how many of them were written to."""
    out.with_name(out.name + ".stop").touch()
    until(lambda: len(out.read_text().split("\n")[-2].split()) == 2)
    kept, written = map(int, out.read_text().split("\n")[-2].split())
    return kept, written


def test_windows_again_and_again_and_a_second_attach_write_into_no_freed_memory(preload: str, tmp_path: Path) -> None:
    with training(preload, tmp_path) as (pid, out):
        followed(pid, tmp_path / "run", 1, "--every", "0.1", "--window", "seconds=0.25")
        again = attach(pid, tmp_path / "again", seconds=4)
        kept, written = written_after_free(out)
    assert kept > 0 and written == 0
    assert len(list((tmp_path / "run" / "kineto").glob("*.json.gz"))) >= 1
    assert kernels(again)["status"] == "unavailable"
    assert {one["name"]: one["status"] for one in again["sources"]}["probe"] == "ok"


@pytest.mark.parametrize(
    ("first", "second", "written"),
    [("ours", "theirs", 0), ("theirs", "ours", 0), ("ours", "ours", 1), ("all", "ours", 1)],
)
def test_which_sessions_write_into_the_memory_of_another(preload: str, first: str, second: str, written: int) -> None:
    if written and not HAS_THE_DEFECT:
        pytest.skip("seen with torch 2.13")
    said = program(preload, first, second, stdout=subprocess.PIPE).communicate(timeout=120)[0].split()
    assert said == ["True", str(written)]
