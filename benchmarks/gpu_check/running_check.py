"""A target of the checks, attached to as a user would."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_S = 90.0
TARGET = "benchmarks.gpu_check.target"


@dataclass(frozen=True)
class CheckedTarget:
    """A running target and the files that it writes."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    def lines(self) -> list[list[str]]:
        """Return the words of the lines that it has written."""
        path = self.folder / "steps"
        return [line.split() for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def step_ends(self) -> list[float]:
        """Return when its steps ended, in seconds."""
        return [float(words[1]) for words in self.lines() if words[0].isdecimal()]

    def errors(self) -> str:
        """Return what it has written to stderr."""
        return (self.folder / "errors").read_text()

    def wait_for_steps(self, count: int) -> None:
        """Wait until it has taken some steps more, or has ended."""
        wanted = len(self.step_ends()) + count
        deadline_s = time.monotonic() + START_S
        while len(self.step_ends()) < wanted and time.monotonic() < deadline_s:
            if self.process.poll() is not None:
                return
            time.sleep(0.1)

    def attach(self, seconds: float, *arguments: str) -> dict[str, Any]:
        """Attach, and return the diagnosis; `error` is its only key when that failed."""
        return attach_to_pid(self.process.pid, self.folder / "run", seconds, *arguments)


def attach_to_pid(pid: int, out: Path, seconds: float, *arguments: str) -> dict[str, Any]:
    """Attach to a process, and return the diagnosis, or its error."""
    options = ["--duration", str(seconds), "--json", "--out", str(out), *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "perfscope", "attach", str(pid), *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode != 0:
        return {"error": done.stderr.strip()}
    diagnosis: dict[str, Any] = json.loads(done.stdout)
    return diagnosis


@contextlib.contextmanager
def checked_target(
    mode: str, *, steps: int = 20, before: Sequence[str] = (), env: dict[str, str] | None = None
) -> Iterator[CheckedTarget]:
    """Run a target in a mode, below the command `before` if given; kill it afterwards."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = [*before, sys.executable, "-m", TARGET, str(folder / "steps"), mode]
        with (folder / "errors").open("wb") as errors:
            process = subprocess.Popen(
                command,
                stderr=errors,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        target = CheckedTarget(process, folder)
        try:
            target.wait_for_steps(steps)
            yield target
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def windows_of(run: Path) -> list[dict[str, Any]]:
    """Return what the run folder keeps of each profiling window."""
    rows = [
        json.loads(line)
        for path in run.glob("streams/kernels@*/*")
        for line in path.read_text().splitlines()
    ]
    return [row for row in rows if "begin" in row]
