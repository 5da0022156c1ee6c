"""A launcher of another user that root attaches to: its ranks are entered as that user, also in
another mount namespace.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.agent.host import proc
from perfscope.traces.load import load_trace
from tests.safety.other_user import NOBODY, folder_of_nobody, needs_root
from tests.target_processes import TARGETS, attach, until

pytestmark = needs_root


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_nobody() as place:
        yield place


AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
OPEN_FOLDER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$3"
mount -t tmpfs -o mode=755 none "$2"
mkdir -p "$1"
mount --bind "$3" "$1"
cd "$4"
shift 4
exec "$@"
"""
"""Runs a command in a mount namespace in which every user may open the folder of Python.

$1 is the folder of Python, $2 the closed folder above it, $3 a folder to mount on, $4 the working
directory.
"""


def python_of_nobody(folder: Path) -> list[str | Path]:
    """Return a command line that runs the Python of the tests as `nobody`."""
    prefix = Path(sys.base_prefix).resolve()
    closed = [parent for parent in prefix.parents if not parent.stat().st_mode & stat.S_IXOTH]
    python = [*AS_NOBODY, sys.executable]
    if not closed:
        return [*python]
    mount = folder / "mount"
    mount.mkdir()
    script = ["unshare", "-m", "sh", "-c", OPEN_FOLDER, "sh"]
    return [*script, prefix, closed[-1], mount, folder, *python]


def test_two_ranks_of_another_users_torchrun_are_entered_by_root(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(TARGETS / "two_ranks.py", folder)
    os.chmod(folder / "two_ranks.py", 0o644)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    steps = folder / "steps"
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "TMPDIR": str(folder)}
    command = [*python_of_nobody(folder), *launcher, folder / "two_ranks.py", steps]
    torchrun = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE)
    try:
        until(lambda: steps.exists() and steps.read_text().count("\n") > 20, 90)
        attach(torchrun.pid, tmp_path / "run", "--depth", "probe", seconds=4)
        trace = load_trace(tmp_path / "run")
        processes, ranges = trace.table("processes"), trace.table("ranges")
        assert processes is not None and ranges is not None
        mains = processes[processes["role"] == "main"]
        assert sorted(mains["rank"]) == [0, 1]
        stepping = ranges[ranges["category"] == "optimizer"]
        assert set(stepping["process"]) == set(mains["process"])
        assert {proc.read_status(pid)["Uid"].split()[0] for pid in mains["pid"]} == {str(NOBODY)}
        assert {path.stat().st_uid for path in (tmp_path / "run").rglob("*")} == {0}
    finally:
        torchrun.terminate()
        torchrun.communicate(timeout=60)
