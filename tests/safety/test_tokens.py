"""Tokens by which agents recognize their probes: they are in no command line, which every user can
read, and in no file that other users can read.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from perfscope.traces.python_command import PARENT_OF_PACKAGE, RUN_MODULE
from tests.target_processes import perfscope, until

PROFILED = """
import json, os, sys
from pathlib import Path
import perfscope
from perfscope.profiling import session
import torch

of_this_test = set()

def command_lines():
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\\0")
            if b"TMPDIR=" + os.environb[b"TMPDIR"] in variables:
                of_this_test.add(pid)
        except OSError:
            pass
    return found

opened = []
start = session.Session.start
def start_and_remember(self):
    start(self)
    opened.append(self)
session.Session.start = start_and_remember
with perfscope.profile(depth="probe", show=False) as scope:
    torch.ones(4).sum()
    lines = command_lines()
(only,) = opened
own_lines = [line for pid, line in lines.items() if pid in of_this_test]
print(json.dumps({
    "agents": [line for line in own_lines if "profile_agent" in line],
    "token": [line for line in lines.values() if only.probe_socket.token in line],
    "address": [line for line in lines.values() if only.probe_socket.address in line],
    "trouble": only.trouble,
    "mode": oct(only.out.parent.stat().st_mode & 0o777),
}))
"""


def environment(place: Path) -> dict[str, str]:
    """Return the environment of a program whose temporary files are in `place`."""
    return {**os.environ, "TMPDIR": str(place), "XDG_RUNTIME_DIR": str(place)}


def observed_run(out: Path, *command: str) -> list[str]:
    """Return the command line of `perfscope run` for a command."""
    return [*perfscope("run", "--depth", "observe", "--out", out), "--", *command]


def test_the_agent_of_profile_reads_its_token_from_stdin(tmp_path: Path) -> None:
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
    (agent,) = seen["agents"]
    assert agent.split("\0")[1:] == [
        "-c",
        RUN_MODULE,
        PARENT_OF_PACKAGE,
        "perfscope.agent.recording.profile_agent",
        "",
    ]
    assert (seen["token"], seen["address"]) == ([], [])
    assert (seen["trouble"], seen["mode"]) == (None, "0o700")
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("perfscope-")] == []


def test_the_folder_of_a_killed_profile_is_removed_by_the_next(tmp_path: Path) -> None:
    text = """
import glob, os, sys, time
import perfscope
import torch
manifest = os.environ["TMPDIR"] + "/perfscope-profile-*/run.perfscope/manifest.json"
with perfscope.profile(depth="probe", show=False) as scope:
    if sys.argv[1] == "die":
        while not glob.glob(manifest):
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
"""
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


def test_the_folder_of_a_killed_run_is_closed_to_other_users_and_removed_by_the_next(
    tmp_path: Path,
) -> None:
    place = tmp_path / "tmp"
    place.mkdir(mode=0o700)
    command = observed_run(tmp_path / "one", "sleep", "60")
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(place), start_new_session=True
    )
    try:
        until(lambda: any(place.glob("*/*/probe.txt")))
        (folder,) = place.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        (inner,) = folder.iterdir()
        assert inner.stat().st_mode & 0o777 == 0o700
        files = [path for path in inner.iterdir() if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        process.kill()
        process.wait()
        assert folder.is_dir()
        done = subprocess.run(
            observed_run(tmp_path / "two", "echo", "ran"),
            cwd=tmp_path,
            env=environment(place),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and done.stdout == "ran\n"
        assert list(place.glob("perfscope-run-*")) == []
    finally:
        # The run may have been killed before it started its command.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_does_not_remove_the_folder_of_another_that_is_in_progress(tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir(mode=0o700)
    command = observed_run(tmp_path / "one", "sh", "-c", "read x; exit 3")
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(place),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        until(lambda: any(place.glob("*/*/probe.txt")))
        (folder,) = place.iterdir()
        other = observed_run(tmp_path / "two", "true")
        subprocess.run(other, cwd=tmp_path, env=environment(place), capture_output=True, check=True)
        assert any(folder.glob("*/probe.txt"))
        process.communicate(b"\n")
        assert process.returncode == 3
    assert list(place.glob("perfscope-run-*")) == []


def test_the_folder_in_pythonpath_has_a_name_that_no_other_user_can_guess(
    tmp_path: Path,
) -> None:
    """A process that outlives the run keeps PYTHONPATH after the folder was removed: no other user
    may create the folder again.
    """
    place, found = tmp_path / "tmp", tmp_path / "found"
    place.mkdir()
    shows = (
        f"ls -ld {place}/* | cut -c1-10 > {found}; ls {place} >> {found}; echo $PYTHONPATH >>"
        f" {found}"
    )
    command = observed_run(tmp_path / "one", "sh", "-c", shows)
    plain = {name: value for name, value in environment(place).items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, timeout=60, check=True)
    mode, outer, path = found.read_text().split()
    assert mode == "drwx------" and Path(path).parent == place / outer
    assert len(Path(path).name) == 32 and Path(path).name not in outer
    assert list(place.iterdir()) == []
