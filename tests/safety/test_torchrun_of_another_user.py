"""Root attaches to a launcher of another user's: its ranks are entered as that user, in a mount
namespace of their own here.
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
from tests.running import TARGETS, attach, until
from tests.safety.strangers import NOBODY, needs_root

pytestmark = needs_root


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of `nobody`, where pytest's own, which is root's, would be closed to it."""
    made = Path("/var/tmp") / f"perfscope-torchrun-{os.getpid()}"
    made.mkdir()
    os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


OPENED = """
mount --make-rprivate / && mount --bind "$1" "$3" && mount -t tmpfs -o mode=755 none "$2" && mkdir -p "$1" &&
mount --bind "$3" "$1" && cd "$4" && shift 4 && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""  # noqa: E501
"""Runs a command as `nobody` where our Python is in a folder that is closed to others.

$1 is where Python is, $2 the closed folder, $3 a folder to mount on, $4 the working directory.
"""


def as_nobody_with_our_python(folder: Path, *words: str | Path) -> list[str | Path]:
    """Return a command line that runs our Python as `nobody`."""
    prefix = Path(sys.base_prefix).resolve()
    closed = next(
        (one for one in reversed(prefix.parents) if not one.stat().st_mode & stat.S_IXOTH), None
    )
    if closed is None:
        return [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            sys.executable,
            *words,
        ]
    (folder / "mount").mkdir()
    return [
        "unshare",
        "-m",
        "sh",
        "-c",
        OPENED,
        "sh",
        prefix,
        closed,
        folder / "mount",
        folder,
        sys.executable,
        *words,
    ]


def test_two_ranks_of_another_users_torchrun_are_entered_by_root(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(TARGETS / "ranked.py", folder)
    os.chmod(folder / "ranked.py", 0o644)
    words = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        folder / "ranked.py",
        folder / "steps",
    ]
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "TMPDIR": str(folder)}
    command = as_nobody_with_our_python(folder, *words)
    torchrun = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE)
    try:
        until(
            lambda: (folder / "steps").exists() and (folder / "steps").read_text().count("\n") > 20,
            90,
        )
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
