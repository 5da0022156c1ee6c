"""`perfscope.step()` in real programs: recorded by whatever records the process, and without effect
otherwise; what `test_request_marks.py` does not need a program for.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

import perfscope
from perfscope.traces.load import load_trace
from tests.target_processes import perfscope as command
from tests.target_processes import source_statuses

LOOP = """
import sys, time
import perfscope, torch

def main(steps):
    for number in range(steps):
        with perfscope.step(samples=8, tokens=100 + number):
            time.sleep(0.01)
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(LOOP + text)
    return path


def marks_of(run_folder: Path) -> list[tuple[int, float]]:
    """Return samples and tokens of each mark."""
    ranges = load_trace(run_folder).table("ranges")
    assert ranges is not None
    marks = ranges[ranges["category"] == "step"]
    return list(zip(marks["value"], marks["payload"], strict=True))


def test_run_records_the_steps_and_what_they_process(tmp_path: Path) -> None:
    path = program(tmp_path, "main(40)")
    options = ["--depth", "probe", "--out", tmp_path / "run", "--json=d.json"]
    words = command("run", *options, "--", sys.executable, path)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert marks_of(tmp_path / "run") == [(8, 100.0 + number) for number in range(40)]
    assert json.loads((tmp_path / "d.json").read_text())["steps"]["count"] == 39


def test_profile_records_the_steps(tmp_path: Path) -> None:
    text = """
main(3)
with perfscope.profile(depth="probe", show=False, out="kept.perfscope") as run:
    main(30)
    with perfscope.step():
        pass
main(3)
"""
    path = program(tmp_path, text)
    done = subprocess.run([sys.executable, path], capture_output=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    marks = marks_of(tmp_path / "kept.perfscope")
    assert len(marks) == 31 and marks[0] == (8, 100.0)
    assert marks[-1][0] == -1 and marks[-1][1] != marks[-1][1]


def test_attach_records_the_steps(tmp_path: Path) -> None:
    path = program(tmp_path, 'print("ready", flush=True)\nmain(100_000)')
    start = [sys.executable, path]
    with subprocess.Popen(start, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as target:
        assert target.stdout is not None and target.stdout.readline() == "ready\n"
        try:
            options = ["--depth", "probe", "--duration", "3", "--out", tmp_path / "run", "--json"]
            words = command("attach", str(target.pid), *options)
            done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        finally:
            target.kill()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"]["count"] > 10
    assert {samples for samples, _ in marks_of(tmp_path / "run")} == {8}


def test_a_program_that_still_imports_torch_is_recorded_afterwards(tmp_path: Path) -> None:
    path = program(tmp_path, "main(100_000)")
    with subprocess.Popen([sys.executable, path], cwd=tmp_path) as target:
        try:
            options = ["--depth", "probe", "--duration", "8", "--out", tmp_path / "run", "--json"]
            words = command("attach", str(target.pid), *options)
            done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        finally:
            target.kill()
    assert done.returncode == 0, done.stderr
    diagnosis = json.loads(done.stdout)
    assert diagnosis["steps"]["count"] > 10
    assert source_statuses(diagnosis)["probe"] == "ok"


def test_without_a_recording_nothing_is_made() -> None:
    """The same object each time: neither memory nor time is spent on it."""
    assert perfscope.step() is perfscope.step(samples=3)
    with pytest.raises(ValueError, match="of the program"), perfscope.step(tokens=1):
        raise ValueError("of the program")


def test_a_request_is_a_context_manager_of_both_kinds() -> None:
    async def answer() -> str:
        async with perfscope.request() as request:
            request.first_token()
            request.tokens(3)
            return "answered"

    with perfscope.request() as request:
        request.first_token()
        request.tokens(1)
    assert asyncio.run(answer()) == "answered"


def test_the_marks_import_the_standard_library_only() -> None:
    text = (
        "import sys, perfscope; perfscope.step(); perfscope.request();"
        " print([n for n in ('numpy', 'pandas', 'torch', 'msgspec', 'psutil') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.stdout == "[]\n"
