"""Starts a program, waits until it trains, and ends it with all its children."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.public_programs.program import CLONES, Program
from benchmarks.public_programs.synthetic_data import make_up

START_S = 600.0
LOGGED = 600
"""Characters at the end of the log of a program that does not train."""
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Place:
    """The folder of clones and data, and the Python of the programs."""

    clones: Path
    python: Path

    def prepare(self, program: Program) -> None:
        """Clone a program's repository and make up its data, if that was not done before."""
        name = program.clone
        if name is not None and not (self.clones / name).exists():
            repository, commit = CLONES[name].split()
            clone = str(self.clones / name)
            address = f"https://github.com/{repository}"
            subprocess.run(["git", "clone", "-q", address, clone], check=True)
            subprocess.run(["git", "-C", clone, "checkout", "-q", commit], check=True)
        make_up(set(program.data), self.clones, self.python)


class NotStarted(Exception):
    """A program that ended, or did not train in time; its text is the end of the program's log."""


@contextlib.contextmanager
def start_program(program: Program, place: Place, environment: dict[str, str]) -> Iterator[int]:
    """Start a program; yield the process to attach to once it trains, and end all of it.

    Raises NotStarted.
    """
    place.prepare(program)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        path = f"{place.python.parent}:{os.environ['PATH']}"
        with open(scratch / "log", "wb") as log:
            process = subprocess.Popen(
                [str(place.python), *program.words(place.clones, scratch)],
                cwd=scratch if program.folder is None else place.clones / program.folder,
                env={**os.environ, **OFFLINE, "PATH": path, **environment, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            pid = wait_for_process(program, process, scratch)
            if pid is None:
                raise NotStarted((scratch / "log").read_text(errors="replace")[-LOGGED:])
            yield pid
        finally:
            end(process)


def end(process: subprocess.Popen) -> None:
    """Kill a program and its children."""
    below = descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def wait_for_process(program: Program, process: subprocess.Popen, scratch: Path) -> int | None:
    """Return the pid to attach to, once it has computed for `warm_up_s` with torch; None when the
    program ended.
    """
    until = time.monotonic() + START_S
    since_s: float | None = None
    while process.poll() is None and time.monotonic() < until:
        pid = wanted_process(program, process.pid, scratch)
        if pid is not None and has_torch(pid):
            computed_s = sum(map(cpu_s, (pid, *descendants(pid))))
            since_s = computed_s if since_s is None else since_s
            if computed_s - since_s >= program.warm_up_s:
                return pid
        time.sleep(0.2)
    return None


def wanted_process(program: Program, started_pid: int, scratch: Path) -> int | None:
    """Return the process of the program to attach to, as soon as it is there."""
    if program.attach_to == "logged":
        named = scratch / "out.pid"
        return int(named.read_text()) if named.exists() else None
    if program.attach_to == "rank":
        below = descendants(started_pid)
        return next((pid for pid in below if environment_of(pid).get("LOCAL_RANK") == "0"), None)
    return started_pid


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process in seconds: on a busy machine a start takes as much of it,
    but longer.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment a process was started with."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def has_torch(pid: int) -> bool:
    """Return whether a process has torch mapped."""
    try:
        return "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False
