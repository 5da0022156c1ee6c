"""`perfscope run`: the command runs as it would without us, and is recorded from its first step to
its last.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from perfscope.traces.load import load_trace
from tests.commands.run_targets import (
    COUNTING,
    LOOKING,
    SIGNALLED,
    TRAINING,
    WITH_HELPER,
    WITH_WORKER,
)
from tests.target_processes import perfscope


def write_program(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text(text)
    return str(path)


def run(
    folder: Path, *words: str, given: str = "", **environment: str
) -> "subprocess.CompletedProcess[str]":
    command = [*perfscope("run", "--out", folder / "run"), "--", *words]
    whole = {**os.environ, **environment}
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=120, cwd=folder, env=whole
    )


def seen_by(python: str, program: str, environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [python, program], input="x", capture_output=True, text=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def test_run_does_not_change_streams_exit_code_path_and_sitecustomize_of_the_command(
    tmp_path: Path,
) -> None:
    program = write_program(tmp_path, LOOKING)
    for name in ("none", "own"):
        (tmp_path / name).mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text(
        "import os\nos.environ['ORDER'] = 'theirs'\n"
    )
    for name in ("none", "own"):
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        path = str(tmp_path / name)
        done = run(folder, sys.executable, program, given="x", PYTHONPATH=path)
        assert done.returncode == 7
        assert json.loads(done.stdout) == seen_by(sys.executable, program, {"PYTHONPATH": path})
        manifest = load_trace(folder / "run").manifests[0]
        assert manifest.command == [sys.executable, program]
        assert {source.name: source.status for source in manifest.sources}["probe"] == "unavailable"


def test_signals_are_forwarded_to_the_command_and_its_exit_code_is_returned(tmp_path: Path) -> None:
    for name, send, code, heard in (
        ("notified", signal.SIGUSR1, 5, "heard SIGUSR1\n"),
        ("killed", signal.SIGTERM, 143, ""),
    ):
        command = [
            *perfscope("run", "--out", tmp_path / name),
            "--",
            sys.executable,
            write_program(tmp_path, SIGNALLED),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.send_signal(send)
            assert process.stdout.read() == heard
            assert process.wait(60) == code


def test_a_signal_to_the_whole_group_reaches_the_command_once(tmp_path: Path) -> None:
    command = [
        *perfscope("run", "--out", tmp_path / "run"),
        "--",
        sys.executable,
        write_program(tmp_path, COUNTING),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert (
            process.stdin is not None
            and process.stdout is not None
            and process.stdout.readline() == "ready\n"
        )
        for send, heard in (
            (os.killpg, 1),
            (os.kill, 2),
            (os.killpg, 3),
            (os.killpg, 4),
            (os.kill, 5),
        ):
            send(process.pid, signal.SIGUSR1)
            assert process.stdout.readline() == f"{heard}\n"
            time.sleep(0.3)  # for a second one, if there is one
        process.stdin.close()
        assert process.stdout.read() == "heard 5\n"


def test_a_missing_command_is_an_error_as_in_a_shell(tmp_path: Path) -> None:
    done = run(tmp_path, "no-such-program-anywhere")
    assert done.returncode == 127 and done.stdout == ""
    assert (
        done.stderr.startswith("perfscope: cannot start no-such-program-anywhere")
        and done.stderr.count("\n") == 1
    )


def test_every_step_of_a_script_is_recorded_and_its_spawned_worker_is_a_loader_worker(
    tmp_path: Path,
) -> None:
    options = ("--json=shown.json", "--out", "run", "--depth", "probe")
    command = [*perfscope("run", *options), sys.executable, write_program(tmp_path, WITH_WORKER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    answer = json.loads((tmp_path / "shown.json").read_text())
    assert {entry["name"]: entry["status"] for entry in answer["sources"]}["probe"] == "ok"
    trace = load_trace(tmp_path / "run")
    ranges, fetches, processes = (
        trace.table("ranges"),
        trace.table("fetches"),
        trace.table("processes"),
    )
    assert ranges is not None and (ranges["category"] == "optimizer").sum() == 40
    assert (ranges["name"] == "part").sum() == 40, "by the library or by the probe, not by both"
    assert fetches is not None and set(fetches["worker"]) == {0} and processes is not None
    shown = trace.manifest.torch
    assert shown is not None and shown.intra_op_threads == 3, (
        "which the program set after the probe had come"
    )
    roles = processes.set_index("process")["role"]
    assert (
        set(roles[fetches["process"].unique()]) == {"loader-worker"}
        and (roles == "main").sum() == 1
    )


def test_torchrun_is_one_job_with_two_ranks(tmp_path: Path) -> None:
    program = write_program(tmp_path, TRAINING)
    done = run(
        tmp_path, sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", program
    )
    assert done.returncode == 0 and sorted(done.stdout.split()) == ["0", "1", "rank", "rank"]
    assert "(2 ranks)" in done.stderr
    trace = load_trace(tmp_path / "run")
    processes, ranges = trace.table("processes"), trace.table("ranges")
    assert processes is not None and ranges is not None
    mains = processes[processes["role"] == "main"]
    assert sorted(mains["rank"]) == [0, 1]
    of_optimizer = (
        ranges[ranges["category"] == "optimizer"].groupby("process", observed=True).size()
    )
    assert set(of_optimizer.index) == set(mains["process"]) and of_optimizer.max() == 40


def test_a_program_with_a_spawned_helper_is_the_rank(tmp_path: Path) -> None:
    done = run(tmp_path, sys.executable, write_program(tmp_path, WITH_HELPER))
    assert done.returncode == 0
    trace = load_trace(tmp_path / "run")
    processes, ranges = trace.table("processes"), trace.table("ranges")
    assert processes is not None and ranges is not None
    assert dict(zip(processes["process"], processes["role"], strict=True))[0] == "main"
    assert list(processes["role"]).count("main") == 1
    assert (ranges[ranges["process"] == 0]["category"] == "optimizer").sum() > 20


def test_tasks_of_slurm_that_start_at_once_have_separate_folders(tmp_path: Path) -> None:
    until_both = "until [ $(ls -d *.perfscope/manifest.json | wc -l) = 2 ]; do sleep 0.1; done"
    command = [*perfscope("run", "--depth", "observe"), "--", "sh", "-c", until_both]
    tasks = [
        os.environ
        | {
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_PROCID": rank,
            "SLURM_JOB_ID": "7",
            "SLURM_STEP_ID": "0",
        }
        for rank in ("0", "1")
    ]
    running = [
        subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.DEVNULL) for env in tasks
    ]
    assert [entry.wait(120) for entry in running] == [0, 0]
    folders = sorted(tmp_path.iterdir(), key=lambda folder: folder.name[-16:])
    assert [entry.name.rsplit("-", 1)[1] for entry in folders] == [
        "rank0.perfscope",
        "rank1.perfscope",
    ]
    assert len({load_trace(entry).manifest.job_id for entry in folders}) == 1
