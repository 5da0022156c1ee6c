"""Nothing in the working directory is imported: it may be a colleague's folder of runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.traces.python_command import module_command
from tests.target_processes import perfscope

SHADOWED = (
    *("multiprocessing", "concurrent", "pickle", "json", "argparse", "runpy", "typing", "struct"),
    *("perfscope", "msgspec", "pandas", "numpy", "signal", "selectors", "linecache", "encodings"),
)
POOL = """
import os
from concurrent.futures import ThreadPoolExecutor
from perfscope.traces.jobs.processes import process_pool
from perfscope.ui.dashboard.verdicts import new_process

if __name__ == "__main__":
    with ThreadPoolExecutor(1) as thread:
        thread.submit(len, "").result()
        with new_process() as pool, process_pool(1) as other:
            print(pool.submit(os.getcwd).result(), other.submit(os.getcwd).result())
"""
PROFILED = """
import perfscope
import torch
with perfscope.profile(out="profiled.perfscope", depth="probe", show=False):
    torch.ones(4).sum()
"""


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """Return a folder with modules that leave a file where they are imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in SHADOWED:
        proof = tmp_path / f"imported-{name}"
        text = f"open({str(proof)!r}, 'w').close()\nraise ImportError('from this folder: {name}')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def refuse_imports(folder: Path) -> None:
    """Fail where one of the modules was imported."""
    assert not [path.name for path in folder.parent.glob("imported-*")]


def run_program(text: str, folder: Path) -> str:
    """Return what a program prints that is elsewhere, and works in the folder."""
    program = folder.parent / "program.py"
    program.write_text(text)
    command = [sys.executable, str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_processes_that_read_runs(hostile_folder: Path) -> None:
    assert run_program(POOL, hostile_folder).split() == [str(hostile_folder)] * 2
    refuse_imports(hostile_folder)


def test_the_process_that_records_for_the_dashboard(hostile_folder: Path) -> None:
    command = module_command("perfscope", "--version")
    done = subprocess.run(command, cwd=hostile_folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("perfscope "), done.stderr
    refuse_imports(hostile_folder)


def test_the_agent_of_a_profiled_program(hostile_folder: Path) -> None:
    run_program(PROFILED, hostile_folder)
    assert (hostile_folder / "profiled.perfscope" / "manifest.json").exists()
    refuse_imports(hostile_folder)


@pytest.mark.parametrize("words", [("ps",), ("doctor", "--json"), ("run", "--", sys.executable)])
def test_commands(words: tuple[str, ...], hostile_folder: Path) -> None:
    program = ["-I", "-c", "print(1)"] if words[0] == "run" else []
    command = perfscope(*words, *program)
    script = [os.path.join(os.path.dirname(sys.executable), "perfscope"), *command[3:]]
    done = subprocess.run(script, cwd=hostile_folder, capture_output=True, text=True, timeout=120)
    assert done.stdout and "from this folder" not in done.stdout + done.stderr
    refuse_imports(hostile_folder)
