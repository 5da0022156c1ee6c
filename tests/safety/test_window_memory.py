"""A range that is open at the end of one profiling session and closes in the next one writes into
freed memory.

perfscope must not let that happen: one session per process, and another one only after a session
that left nothing open.
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
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, HERE / "freed_blocks.c", "-ldl"],
        check=True,
    )
    return str(library)


def program(preload: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.safety.visited.window_memory", *arguments]
    return subprocess.Popen(
        command, env={**os.environ, "LD_PRELOAD": preload}, text=True, **options
    )


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


def test_a_range_over_two_windows_and_two_recordings_writes_into_no_freed_memory(
    preload: str, tmp_path: Path
) -> None:
    with training(preload, tmp_path) as (pid, out):
        first = attach(
            pid,
            tmp_path / "run",
            "--window",
            "seconds=0.5",
            "--follow",
            "--every",
            "0.2",
            seconds=8,
        )
        again = attach(pid, tmp_path / "again", seconds=4)
        kept, written = written_after_free(out)
    assert kept > 0 and written == 0
    assert len(list((tmp_path / "run" / "kineto").iterdir())) == 1
    states = [
        {source["name"]: source["status"] for source in answer["sources"]}
        for answer in (first, again)
    ]
    assert [state["probe"] for state in states] == ["ok", "ok"]
    assert states[0]["kernels"] in ("ok", "partial") and states[1]["kernels"] == "unavailable"


@pytest.mark.skipif(not HAS_THE_DEFECT, reason="the defect was seen with torch 2.13")
def test_only_sessions_of_all_threads_write_into_the_memory_of_another(preload: str) -> None:
    pairs = {("ours", "theirs"): 0, ("theirs", "ours"): 0, ("ours", "ours"): 1, ("all", "ours"): 1}
    programs = {pair: program(preload, *pair, stdout=subprocess.PIPE) for pair in pairs}
    said = {pair: started.communicate(timeout=120)[0].split() for pair, started in programs.items()}
    assert said == {pair: ["True", str(written)] for pair, written in pairs.items()}
