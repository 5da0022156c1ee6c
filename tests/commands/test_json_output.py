"""`--json` prints the diagnosis on stdout, and `--json=FILE` writes it to a file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.calling import call
from tests.traces.test_reader import write


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write(tmp_path / "job.perfscope")
    return tmp_path / "job.perfscope"


def test_json_before_a_path_leaves_the_path_to_the_command(run_folder: Path) -> None:
    before, after = call("analyze", "--json", run_folder), call("analyze", run_folder, "--json")
    assert before.returncode == after.returncode == 0
    assert json.loads(before.stdout) == json.loads(after.stdout)
    assert before.stderr == ""


@pytest.mark.parametrize("command", ["analyze", "report"])
def test_json_with_a_file_writes_the_file(command: str, run_folder: Path, tmp_path: Path) -> None:
    options = ["-o", tmp_path / "r.html"] if command == "report" else []
    file = tmp_path / "diagnosis.json"
    done = call(command, run_folder, *options, f"--json={file}")
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout + done.stderr
    printed = call("analyze", run_folder, "--json").stdout
    assert json.loads(file.read_text()) == json.loads(printed)
    assert "{" not in done.stdout


def test_a_json_file_that_cannot_be_written_is_an_error(run_folder: Path, tmp_path: Path) -> None:
    done = call("analyze", run_folder, f"--json={tmp_path}/none/d.json")
    assert done.returncode == 1
    assert "none/d.json" in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout  # the diagnosis is still printed


def test_attach_refuses_a_missing_folder_before_it_records(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as target:
        try:
            done = call("attach", str(target.pid), "--json=none/d.json", cwd=tmp_path)
        finally:
            target.kill()
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--json", "--json=-", "--json="])
def test_run_takes_a_file_only(option: str, tmp_path: Path) -> None:
    done = call("run", option, "--", "true", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "--json=FILE" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_options_after_two_dashes_belong_to_the_command_of_run(tmp_path: Path) -> None:
    program = "import sys; print(sys.argv[1:])"
    options = ["--depth", "observe", "--json=d.json", "--"]
    words = [sys.executable, "-c", program, "--json", "--json=x"]
    done = call("run", *options, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['--json', '--json=x']\n"
    assert json.loads((tmp_path / "d.json").read_text())["steps"]["count"] == 0
