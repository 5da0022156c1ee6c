"""Tokens by which probes are known: in no command line, which every user can read, and in no file
that others can read.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.running import perfscope, until

PROFILED = """
import json, os, sys
import perfscope
from perfscope.profiling import scope, session
import torch

of_this_test = set()

def command_lines():
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line, open(f"/proc/{pid}/environ", "rb") as variables:
                found[pid] = line.read().decode("utf-8", "replace")
                if b"TMPDIR=" + os.environb[b"TMPDIR"] in variables.read().split(b"\\0"):
                    of_this_test.add(pid)
        except OSError:
            pass
    return found

opened = []
start = session.Session.start
def watched(self):
    start(self)
    opened.append(self)
session.Session.start = watched
with perfscope.profile(depth="probe", show=False) as scope:
    torch.ones(4).sum()
    lines = command_lines()
(one,) = opened
print(json.dumps({
    "agents": [line for pid, line in lines.items() if "profile_agent" in line and pid in of_this_test],
    "token": [line for line in lines.values() if one.door.token in line],
    "address": [line for line in lines.values() if one.door.address in line],
    "trouble": one.trouble,
    "mode": oct(one.out.parent.stat().st_mode & 0o777),
}))
"""  # noqa: E501


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place), "XDG_RUNTIME_DIR": str(place)}


def test_the_agent_of_profile_gets_its_token_on_stdin(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROFILED)
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert len(seen["agents"]) == 1 and seen["agents"][0].split("\0")[1:] == [
        "-m",
        "perfscope.agent.profile_agent",
        "",
    ]
    assert (seen["token"], seen["address"], seen["trouble"], seen["mode"]) == (
        [],
        [],
        None,
        "0o700",
    )
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("perfscope-")] == []


def test_the_folder_of_a_killed_profile_is_removed_by_the_next(tmp_path: Path) -> None:
    text = """
import glob, os, sys, time
import perfscope
import torch
with perfscope.profile(depth="probe", show=False) as scope:
    if sys.argv[1] == "die":
        while not glob.glob(os.environ["TMPDIR"] + "/perfscope-profile-*/run.perfscope/manifest.json"):
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
"""  # noqa: E501
    path = tmp_path / "program.py"
    path.write_text(text)

    def run(word: str) -> int:
        command = [sys.executable, str(path), word]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(tmp_path), capture_output=True
        ).returncode

    assert run("die") == -9
    (folder,) = tmp_path.glob("perfscope-profile-*")
    manifest = folder / "run.perfscope" / "manifest.json"
    until(lambda: manifest.exists() and json.loads(manifest.read_text())["finished"])
    assert run("live") == 0 and list(tmp_path.glob("perfscope-profile-*")) == []


def test_the_folder_of_a_killed_run_is_removed_by_the_next_and_shows_its_token_to_nobody_else(
    tmp_path: Path,
) -> None:
    place = tmp_path / "tmp"
    place.mkdir(mode=0o700)
    command = [
        *perfscope("run", "--depth", "observe", "--out", tmp_path / "one"),
        "--",
        "sleep",
        "60",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(place), start_new_session=True
    )
    try:
        until(lambda: any(place.glob("*/*/probe.txt")))
        (folder,) = place.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        (inner,) = folder.iterdir()
        assert inner.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in inner.iterdir() if path.is_file()} == {
            0o600
        }
        process.kill()
        process.wait()
        assert folder.is_dir()
        done = subprocess.run(
            [
                *perfscope("run", "--depth", "observe", "--out", tmp_path / "two"),
                "--",
                "echo",
                "ran",
            ],
            cwd=tmp_path,
            env=environment(place),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and done.stdout == "ran\n"
        assert list(place.glob("perfscope-run-*")) == []
    finally:
        with contextlib.suppress(
            ProcessLookupError
        ):  # it may have been killed before its command was there
            os.killpg(process.pid, signal.SIGKILL)


def test_two_runs_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir(mode=0o700)
    command = [
        *perfscope("run", "--depth", "observe", "--out", tmp_path / "one"),
        "--",
        "sh",
        "-c",
        "read x; exit 3",
    ]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(place),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        until(lambda: any(place.glob("*/*/probe.txt")))
        (folder,) = place.iterdir()
        other = [*perfscope("run", "--depth", "observe", "--out", tmp_path / "two"), "--", "true"]
        assert (
            subprocess.run(
                other, cwd=tmp_path, env=environment(place), capture_output=True
            ).returncode
            == 0
        )
        assert any(folder.glob("*/probe.txt"))
        process.communicate(b"\n")
        assert process.returncode == 3
    assert list(place.glob("perfscope-run-*")) == []


def test_the_folder_in_a_survivors_pythonpath_has_a_name_that_no_other_user_can_learn(
    tmp_path: Path,
) -> None:
    """A process that the command leaves behind keeps PYTHONPATH when our folder is gone: nobody
    else may fill it again.
    """
    place, found = tmp_path / "tmp", tmp_path / "found"
    place.mkdir()
    shows = (
        f"ls -ld {place}/* | cut -c1-10 > {found}; ls {place} >> {found}; echo $PYTHONPATH >>"
        f" {found}"
    )
    command = [
        *perfscope("run", "--depth", "observe", "--out", tmp_path / "one"),
        "--",
        "sh",
        "-c",
        shows,
    ]
    plain = {name: value for name, value in environment(place).items() if name != "PYTHONPATH"}
    assert (
        subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, timeout=60).returncode
        == 0
    )
    mode, outer, path = found.read_text().split()
    assert mode == "drwx------" and Path(path).parent == place / outer
    assert len(Path(path).name) == 32 and Path(path).name not in outer
    assert list(place.iterdir()) == []
