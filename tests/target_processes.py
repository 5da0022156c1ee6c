"""Real target processes, and recordings of them made as a user would make them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TARGETS = ROOT / "tests" / "agent" / "targets"


@dataclass
class Run:
    """A target that writes one line per step to `out`."""

    process: subprocess.Popen[str]
    out: Path
    states: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self) -> list[list[str]]:
        """Return the words of each whole line that the target has written so far."""
        text = self.out.read_text() if self.out.exists() else ""
        return [line.split() for line in text.split("\n")[:-1]]

    def state(self) -> dict[str, Any]:
        """Return what is patched, open and running in the target now."""
        path = self.out.with_name(self.out.name + ".state")
        before = path.read_text().count("\n") if path.exists() else 0
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: path.exists() and path.read_text().count("\n") > before)
        answer: dict[str, Any] = json.loads(path.read_text().split("\n")[-2])
        return answer


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until a condition of another process holds; fail if it does not."""
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, f"the condition did not hold within {seconds:g} s"
        time.sleep(0.02)


def start(program: str, folder: Path, *arguments: str, steps: int = 20) -> Run:
    """Start `tests/agent/targets/PROGRAM` in `folder` and wait for its first steps."""
    out = folder / "steps"
    home = folder / "home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, str(TARGETS / program), str(out), *arguments]
    run = Run(
        subprocess.Popen(
            command, cwd=home, text=True, stderr=subprocess.PIPE, start_new_session=True
        ),
        out,
    )
    until(lambda: len(run.lines()) >= steps or run.process.poll() is not None, 60)
    assert run.process.poll() is None, run.process.stderr.read() if run.process.stderr else ""
    return run


@contextlib.contextmanager
def killed_at_end(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a command, and kill it at the end of the context, also after a failure."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def end(run: Run) -> None:
    """Kill the target and its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.process.communicate()


def perfscope(*arguments: str | Path) -> list[str]:
    """Return the command line that runs perfscope with these arguments."""
    return [sys.executable, "-m", "perfscope", *map(str, arguments)]


def attach(
    pid: int, folder: Path, *arguments: str, seconds: float = 3.0, before: Sequence[str] = ()
) -> dict[str, Any]:
    """Attach for some seconds and return the diagnosis; the command `before` runs perfscope."""
    command = perfscope(
        "attach", str(pid), "--duration", str(seconds), "--json", "--out", folder, *arguments
    )
    done = subprocess.run(
        [*before, *command], capture_output=True, text=True, timeout=seconds + 120
    )
    assert done.returncode == 0, done.stderr
    diagnosis: dict[str, Any] = json.loads(done.stdout)
    return diagnosis


def attach_and_act(
    pid: int, out: Path, act: Callable[[], object], **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Observe a process for two seconds, and call `act` as soon as the run folder exists."""
    options = ["--depth", "observe", "--duration", "2", "--json", "--out", out]
    command = perfscope("attach", str(pid), *options)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, **variables}
    with subprocess.Popen(command, cwd=ROOT, text=True, env=environment, **pipes) as agent:
        until(lambda: (out / "manifest.json").exists())
        act()
        printed, errors = agent.communicate(timeout=60)
    assert "Traceback" not in errors
    return subprocess.CompletedProcess(command, agent.returncode, printed, errors)


def source_statuses(diagnosis: dict[str, Any]) -> dict[str, str]:
    """Return name -> status of each source of a diagnosis."""
    return {source["name"]: source["status"] for source in diagnosis["sources"]}


def source_reasons(diagnosis: dict[str, Any]) -> dict[str, str]:
    """Return name -> reason of each source of a diagnosis."""
    return {source["name"]: source["reason"] for source in diagnosis["sources"]}
