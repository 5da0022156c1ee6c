"""Starts the soak's programs, reads their logs, and reads the state of a process from inside and
from outside.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "programs"
PROGRAMS = (
    "plain",
    "compiled",
    "served",
    "rl",
    "forking",
    "threaded",
    "asynchronous",
    "notebook",
    "pools",
    "prefork",
    "ray_worker",
    "hf_trainer",
)
PERIOD = 100
"""The same as in `programs/observed.py`, which the programs import from their folder."""
START_S = 180.0
ANSWER_S = 30.0
BUSY = "python"
GLIBC_SIGNALS = 3 << 31
"""The bits of signals 32 and 33 in a mask of signals; glibc uses them."""
RUNNING: "list[RunningProgram]" = []
"""Programs that have not been ended; a soak that is interrupted ends them."""
STATUS_FIELDS = (
    "TracerPid",
    "NoNewPrivs",
    "Seccomp",
    "CapEff",
    "SigIgn",
    "SigCgt",
    "SigBlk",
    "ShdPnd",
)


class TargetEnded(Exception):
    """The target is gone, or does not answer any more."""


@dataclass
class LoggedStep:
    """A step in the log of a program; `at_s` is in seconds of the monotonic clock."""

    step: int
    value: str
    at_s: float


@dataclass(eq=False)
class RunningProgram:
    """A program that was started and not ended; `pid` is the process to attach to, `process` itself
    or a child of it.
    """

    program: str
    process: subprocess.Popen[bytes]
    folder: Path
    pid: int = 0
    checked: int = 0  # lines that have been compared with the reference
    expected: dict[int, str] = field(default_factory=dict)
    first_attach_s: float = math.inf  # seconds of the monotonic clock

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def lines(self) -> list[LoggedStep]:
        """Return the steps logged so far, without a line that is not whole."""
        text = self.out.read_text() if self.out.exists() else ""
        rows = (line.split() for line in text.split("\n")[:-1])
        return [LoggedStep(int(row[0]), row[1], float(row[2])) for row in rows if len(row) == 3]

    def children_lines(self) -> list[dict[str, Any]]:
        """Return what children that have ended logged."""
        path = Path(f"{self.out}.children")
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def errors(self) -> str:
        """Return the program's standard error so far."""
        return (self.folder / "stderr").read_text(errors="replace")

    def is_alive(self) -> bool:
        """Return whether `process` and `pid` exist and are not zombies."""
        return self.process.poll() is None and status_of(self.pid).get("State", "Z")[0] not in "ZX"

    def state(self) -> dict[str, Any]:
        """Ask the process for its state, and return it. Raises TargetEnded."""
        answer = Path(f"{self.out}.state.{self.pid}")
        answer.unlink(missing_ok=True)
        Path(f"{self.out}.ask.{self.pid}").touch()
        self.until(answer.exists, ANSWER_S)
        state: dict[str, Any] = json.loads(answer.read_text())
        return state

    def until(self, condition: Callable[[], Any], seconds: float) -> None:
        """Wait for a condition. Raises TargetEnded when the target ends first or it takes too
        long.
        """
        end = time.monotonic() + seconds
        while not condition():
            if not self.is_alive():
                raise TargetEnded(f"ended ({self.process.poll()})")
            if time.monotonic() > end:
                raise TargetEnded(f"no progress within {seconds:.0f} s")
            time.sleep(0.02)

    def wait_for_steps(self, count: int, seconds: float = 60.0) -> None:
        """Wait until `count` more steps have been logged. Raises TargetEnded."""
        goal = len(self.lines()) + count
        self.until(lambda: len(self.lines()) >= goal, seconds)

    def end(self) -> None:
        """Kill the program and everything that it started."""
        family = [
            self.process.pid,
            *descendants(self.process.pid),
            *([self.pid] if self.pid else []),
        ]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        outside = Path(f"{self.out}.folder")
        if outside.exists():
            shutil.rmtree(outside.read_text(), ignore_errors=True)
        if self in RUNNING:
            RUNNING.remove(self)


def environment(folder: Path, shared: Path) -> dict[str, str]:
    """Return the environment of programs and agents: a folder for their temporary files, and caches
    that all cycles share.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return os.environ | {
        "TMPDIR": str(temporary),
        "TORCHINDUCTOR_CACHE_DIR": str(shared / "inductor"),
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def start(
    python: Path, program: str, folder: Path, shared: Path, steps: int | None = None
) -> RunningProgram:
    """Start one program in a new folder and wait until it has made a whole period of steps, after
    which it has loaded everything. Raises TargetEnded.

    With `steps` the program ends after so many steps, and this does not wait.
    """
    folder.mkdir(parents=True)
    home = folder / "home"
    home.mkdir()
    command = [
        str(python),
        str(FOLDER / f"{program}.py"),
        str(folder / "out"),
        *([str(steps)] if steps else []),
    ]
    with open(folder / "stderr", "wb") as errors, open(folder / "stdout", "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=environment(folder, shared),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    run = RunningProgram(program, process, folder)
    RUNNING.append(run)
    if steps is None:
        wait_for_first_steps(run)
    return run


def wait_for_first_steps(run: RunningProgram) -> None:
    """Wait for a period of steps, and set `pid`. Raises TargetEnded if it does not start."""
    end = time.monotonic() + START_S
    named = Path(f"{run.out}.pid")
    while not named.exists() or len(run.lines()) < PERIOD + 5:
        if run.process.poll() is not None or time.monotonic() > end:
            run.end()
            raise TargetEnded(f"did not start: {run.errors()[-500:]}")
        time.sleep(0.05)
    run.pid = int(named.read_text())


def status_of(pid: int, thread: int | None = None) -> dict[str, str]:
    """Return `/proc/PID/status`, or that of one of its threads; empty when it has ended."""
    place = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    try:
        text = Path(place).read_text()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def children(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def descriptors(pid: int) -> Counter[str]:
    """Return how many descriptors of a process refer to each file; sockets and pipes by kind."""
    found: Counter[str] = Counter()
    for name in listed(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            if "torch_" not in link:  # batches handed over by a loader's worker
                found[link.split(":[")[0]] += 1
    return found


def listed(folder: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from os.listdir(folder)


def threads(pid: int) -> Counter[str]:
    """Return how many threads have each name and STATUS_FIELDS."""
    found: Counter[str] = Counter()
    for task in listed(f"/proc/{pid}/task"):
        status = status_of(pid, int(task))
        if status:
            name = status["Name"].split(":")[0].rstrip("0123456789")  # ray::Trainer.train()
            found[" ".join([name, *(field_of(status, key) for key in STATUS_FIELDS)])] += 1
    return found


def field_of(status: dict[str, str], key: str) -> str:
    """Return a field of a status; masks of signals without those that glibc uses once a thread was
    started.
    """
    value = status.get(key, "")
    return (
        f"{int(value, 16) & ~GLIBC_SIGNALS:x}"
        if key.startswith(("Sig", "Shd")) and value
        else value
    )


def mappings(pid: int) -> Counter[str]:
    """Return the number of mappings that are writable and executable, and of mappings of each file
    or memory file of perfscope.
    """
    found: Counter[str] = Counter()
    try:
        text = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return found
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if "rwx" in words[1]:
            found["rwx"] += 1
        if len(words) > 5 and "perfscope" in words[5]:
            found[words[5]] += 1
    return found


def seen_from_outside(run: RunningProgram) -> dict[str, Any]:
    """Return what the kernel reports about the attached process, and its children by kind."""
    below = descendants(run.pid)
    return {
        "descriptors": descriptors(run.pid),
        "threads": threads(run.pid),
        "mappings": mappings(run.pid),
        "children": Counter(kind_of(pid) for pid in below if kind_of(pid) != BUSY),
        "children's mappings": most_mapped([run.pid, *below]),
        "temporary files": Counter(temporary_files(run.folder / "tmp")),
    }


def kind_of(pid: int) -> str:
    """Return the name of a child; BUSY for one that runs the target's program: their number changes
    all the time.
    """
    name = status_of(pid).get("Name", BUSY)
    return BUSY if name.startswith("python") else name


def most_mapped(pids: list[int]) -> dict[str, int]:
    """Return, for each kind of mapping, the largest number in any of these processes."""
    found: dict[str, int] = {}
    for pid in pids:
        for name, count in mappings(pid).items():
            found[name] = max(found.get(name, 0), count)
    return found


def temporary_files(folder: Path) -> Iterator[str]:
    """Yield the names in the temporary folder that target and agent share, without those that torch
    and multiprocessing create.
    """
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if not name.startswith(("pymp-", "torchinductor", "torch_", "ray", "wgunicorn")):
            yield name
