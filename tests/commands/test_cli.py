"""The command line: exit codes, one line for an error, JSON alone on stdout."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from docs.generate import schema
from tests.commands.calling import call
from tests.target_processes import Run, end, perfscope, start, until


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("attach", "4194303"), 2, "`perfscope ps`"),
        (("analyze", "/nowhere"), 2, "/nowhere"),
        (("report", "/usr", "-o", "x.html"), 2, "/usr"),
        (("explain", "gpu-slow"), 2, "'gpu-slow'"),
    ],
)
def test_an_error_is_one_line_that_names_its_cause(
    arguments: tuple[str, ...], code: int, named: str
) -> None:
    done = call(*arguments)
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith("perfscope: ") and done.stderr.count("\n") == 1
    assert named in done.stderr


def test_a_process_that_is_not_python_is_refused(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        done = call("attach", str(sleeper.pid), "--out", tmp_path / "run")
    finally:
        sleeper.kill()
        sleeper.wait()
    assert done.returncode == 2 and "Python" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = call("attach", str(os.getpid()), "--out", tmp_path / "file" / "run")
    assert done.returncode == 2 and "--out" in done.stderr


def test_explain_lists_the_findings_and_explains_them() -> None:
    ids = call("explain").stdout.split()
    assert "input-bound" in ids
    for heading in ("What it means", "How it is detected", "What to do", "When it is wrong"):
        assert heading in call("explain", "input-bound").stdout


def test_a_broken_pipe_prints_no_error() -> None:
    code = f"{sys.executable} -m perfscope explain input-bound | head -1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""


def test_a_process_without_torch_is_recorded_from_outside(tmp_path: Path) -> None:
    target = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    try:
        done = call(
            "attach", str(target.pid), "--duration", "4", "--json", "--out", tmp_path / "run"
        )
    finally:
        target.kill()
        target.wait()
    answer = json.loads(done.stdout)
    sources = {entry["name"]: entry for entry in answer["sources"]}
    assert answer["steps"]["count"] == 0 and sources["stacks"]["status"] == "ok"
    assert "torch" in sources["probe"]["reason"]
    assert answer["verdict"]["id"] == "host-code"


@pytest.fixture
def looping(tmp_path: Path) -> "object":
    target = start("looping.py", tmp_path)
    yield target
    end(target)


def test_json_is_alone_on_stdout_and_follows_its_schema(looping: Run, tmp_path: Path) -> None:
    done = call(
        "attach",
        str(looping.pid),
        "--duration",
        "3",
        "--json",
        "--out",
        tmp_path / "r",
        "--html",
        tmp_path / "r.html",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    jsonschema.validate(answer, json.loads(schema()))
    assert sum(entry["share"] for entry in answer["time_budget"]) == pytest.approx(1.0)
    assert (tmp_path / "r.html").stat().st_size > 1_000_000
    again = call("analyze", tmp_path / "r", "--json")
    assert json.loads(again.stdout)["verdict"] == answer["verdict"]


def test_ctrl_c_ends_the_recording_and_prints_the_report(looping: Run, tmp_path: Path) -> None:
    before = looping.state()
    command = perfscope(
        "attach", str(looping.pid), "--duration", "60", "--json", "--out", tmp_path / "run"
    )
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: looping.state()["hooks"] != before["hooks"])
    steps = len(looping.lines())
    until(lambda: len(looping.lines()) > steps + 200)
    agent.send_signal(signal.SIGINT)
    out, err = agent.communicate(timeout=30)
    assert agent.returncode == 0, err
    assert json.loads(out)["steps"]["count"] > 20
    assert looping.state() == before


def test_ps_lists_a_running_training(looping: Run) -> None:
    rows = {entry["pid"]: entry for entry in json.loads(call("ps", "--json").stdout)}
    row = rows[looping.pid]
    assert row["torch"] and row["workers"] == 2 and row["refusal"] is None


def test_doctor_enters_a_real_process() -> None:
    output = {entry["name"]: entry for entry in json.loads(call("doctor", "--json").stdout)}
    assert "works" in output["enter a process"]["said"] or output["enter a process"]["fix"]


FORKS = """
import os, sys, threading, time
import perfscope.cli, perfscope.commands.ps
def forks(args):
    child = os.fork()
    if child == 0:
        print("child")
        threading.Thread(target=time.sleep, args=(1000,)).start()  # a usual exit waits for it
        return 3
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
perfscope.commands.ps.run = forks
sys.exit(perfscope.cli.main(["ps"]))
"""


def test_a_forked_child_of_a_command_ends_with_its_output_and_without_waiting_for_threads() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "child\n")
