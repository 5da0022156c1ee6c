"""Ranges that are open at the end of one profiling session and end in the next: torch then writes
into freed memory.

perfscope prevents this: it takes one session per process, and another only after a session in which
no range was open.
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

from tests.target_processes import attach, source_statuses, until

SOURCE = Path(__file__).with_name("freed_blocks.c")
HAS_THE_DEFECT = torch.__version__.startswith("2.13.")


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the compiled library that keeps freed blocks."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("preload") / "freed_blocks.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    return str(library)


def start_program(preload: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start targets/window_memory.py with the library."""
    command = [sys.executable, "-m", "tests.safety.targets.window_memory", *arguments]
    return subprocess.Popen(
        command, env={**os.environ, "LD_PRELOAD": preload}, text=True, **options
    )


@contextmanager
def training(preload: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """Run a program that trains inside ranges; yield its pid and its output file."""
    out = folder / "steps"
    process = start_program(preload, "train", str(out))
    try:
        until(lambda: out.exists() and out.read_text().count("\n") > 20, 60)
        yield process.pid, out
    finally:
        process.kill()
        process.wait()


def stop_program(out: Path) -> tuple[int, int]:
    """Stop the program; return how many freed blocks it kept, and how many were written to."""
    out.with_name(out.name + ".stop").touch()
    until(lambda: len(out.read_text().split("\n")[-2].split()) == 2)
    kept, written = map(int, out.read_text().split("\n")[-2].split())
    return kept, written


def test_a_range_over_two_windows_and_two_recordings_writes_to_no_freed_memory(
    preload: str, tmp_path: Path
) -> None:
    with training(preload, tmp_path) as (pid, out):
        options = ("--window", "seconds=0.5", "--follow", "--every", "0.2")
        first = attach(pid, tmp_path / "run", *options, seconds=8)
        again = attach(pid, tmp_path / "again", seconds=4)
        kept, written = stop_program(out)
    assert kept > 0 and written == 0
    assert len(list((tmp_path / "run" / "kineto").iterdir())) == 1
    first_statuses, second_statuses = source_statuses(first), source_statuses(again)
    assert first_statuses["probe"] == second_statuses["probe"] == "ok"
    assert first_statuses["kernels"] in ("ok", "partial")
    assert second_statuses["kernels"] == "unavailable"


@pytest.mark.skipif(not HAS_THE_DEFECT, reason="the defect was seen with torch 2.13")
def test_only_sessions_of_all_threads_write_into_the_memory_of_another(preload: str) -> None:
    pairs = {
        ("probe", "program"): 0,
        ("program", "probe"): 0,
        ("probe", "probe"): 1,
        ("all", "probe"): 1,
    }
    programs = {pair: start_program(preload, *pair, stdout=subprocess.PIPE) for pair in pairs}
    for pair, process in programs.items():
        printed = process.communicate(timeout=120)[0].split()
        assert printed == ["True", str(pairs[pair])], pair
