"""One cycle: measures the target, attaches, kills if planned, and checks that nothing of perfscope
is left in the target.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.safety.soak.kills import DURATION_S, Kill, Killer
from tests.safety.soak.leftovers import changed_children, processes_marked, settle, states_before
from tests.safety.soak.targets import PERIOD, RunningProgram, TargetEnded, environment

RATE_S = 2.0
RATE_MOST_S = 10.0
AGENT_S = 60.0
MARKER = "PERFSCOPE_SOAK_CYCLE"
ROOT = Path(__file__).parents[3]


@dataclass
class Outcome:
    """One row of the results."""

    cycle: int
    program: str
    attach: int
    kill: dict[str, Any] | None = None
    hit: str | None = None
    harmed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    level: str | None = None
    window: bool = False
    why_no_window: str | None = None
    stopped_ms: list[float] = field(default_factory=list)
    stall_ms: float | None = None
    before_hz: float | None = None
    after_hz: float | None = None
    longest_step_before_ms: float | None = None
    longest_step_ms: float | None = None
    settled_s: float | None = None
    steps: int = 0
    took_s: float = 0.0


def run_cycle(run: RunningProgram, outcome: Outcome, kill: Kill | None, shared: Path) -> None:
    """Attach to `run` once and fill `outcome`."""
    began = time.monotonic()
    try:
        outcome.before_hz = rate(run)
        first_error = len(run.errors())
        before = states_before(run)
        agent_began = time.monotonic()
        run.first_attach_s = min(run.first_attach_s, agent_began)
        attach(run, outcome, kill, shared)
        read_recording(run.folder / f"run{outcome.cycle}", outcome)
        run.wait_for_steps(3, 20.0)
        left, outcome.settled_s, _ = settle(run, before)
        settled = time.monotonic()
        outcome.after_hz = rate(run)
        outcome.harmed += [f"left: {part}: {text}" for part, text in left.items()]
        check_log(run, outcome, agent_began, settled)
        check_children(run, outcome, before[0], agent_began, settled)
        errors = run.errors()[first_error:]
        outcome.harmed += [f"stderr: {errors[-400:]}"] if errors.strip() else []
    except TargetEnded as reason:
        outcome.harmed.append(f"target {reason}; stderr: {run.errors()[-600:]}")
    outcome.took_s = time.monotonic() - began


def rate(run: RunningProgram) -> float:
    """Return the steps per second, measured over RATE_S and a whole period of steps, or over
    RATE_MOST_S. Raises TargetEnded.

    The steps of a period differ, so that the rate of a part of one would be wrong.
    """
    began = time.monotonic()
    run.wait_for_steps(3, 20.0)
    while True:
        times = sorted(line.at_s for line in run.lines() if line.at_s >= began)
        waited_s = time.monotonic() - began
        if len(times) >= 3 and (
            (waited_s >= RATE_S and len(times) > PERIOD) or waited_s >= RATE_MOST_S
        ):
            return (len(times) - 1) / (times[-1] - times[0])
        run.until(lambda: True, 1.0)
        if waited_s > 2 * RATE_MOST_S:
            raise TargetEnded("made fewer than three steps")
        time.sleep(0.05)


def attach(run: RunningProgram, outcome: Outcome, kill: Kill | None, shared: Path) -> None:
    """Run `perfscope attach` to its end, or until it is killed."""
    marker = f"{outcome.program}-{outcome.cycle}-{os.getpid()}"
    command = [
        sys.executable,
        "-m",
        "perfscope",
        "attach",
        str(run.pid),
        "--duration",
        str(DURATION_S),
        "--json",
    ]
    command += ["--depth", kill.depth if kill is not None else "kernels"]
    command += ["--out", str(run.folder / f"run{outcome.cycle}")]
    env = environment(run.folder, shared) | {MARKER: marker}
    agent = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    killer = Killer(kill, agent, run.pid) if kill is not None else None
    try:
        _, err = agent.communicate(timeout=AGENT_S)
    except subprocess.TimeoutExpired:
        agent.send_signal(signal.SIGKILL)
        _, err = agent.communicate()
        outcome.harmed.append(f"agent did not end within {AGENT_S:.0f} s")
    if killer is not None:
        killer.thread.join()
        outcome.hit = killer.done
    killed = outcome.hit is not None and not outcome.hit.startswith("missed")
    if agent.returncode and not killed:
        outcome.notes.append(
            f"attach ended with {agent.returncode}: {err.decode(errors='replace')[-300:]}"
        )
    wait_for_none(
        lambda: processes_marked(f"{MARKER}={marker}"), outcome, "process of the attach left"
    )


def wait_for_none(
    find: Callable[[], list[str]], outcome: Outcome, name: str, seconds: float = 12.0
) -> None:
    """Wait until `find` finds nothing; what it finds after that time is harm."""
    end = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < end:
        time.sleep(0.1)
    outcome.harmed += [f"{name}: {item}" for item in found]


def read_recording(folder: Path, outcome: Outcome) -> None:
    """Read level, stops and window from the run folder, if it exists."""
    for path in folder.glob("streams/agent.events@host/*"):
        rows = [
            json.loads(line)
            for line in path.read_text(errors="replace").split("\n")
            if line.endswith("}")
        ]
        outcome.stopped_ms += [
            row["stopped_ns"] / 1e6 for row in rows if row.get("event") == "entered"
        ]
        outcome.notes += [
            f"not entered: {row['reason']}" for row in rows if row.get("event") == "refused"
        ]
    outcome.window = any(folder.glob("kineto/*"))
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        return
    outcome.level = manifest["depth"]
    kernels = next((source for source in manifest["sources"] if source["name"] == "kernels"), None)
    if kernels is not None and not outcome.window:
        outcome.why_no_window = kernels["reason"]
    for path in folder.glob("streams/kernels@*/*"):
        for line in path.read_text(errors="replace").split("\n"):
            if line.endswith("}") and json.loads(line).get("stall") is not None:
                outcome.stall_ms = json.loads(line)["stall"] / 1e6


def check_log(run: RunningProgram, outcome: Outcome, began: float, settled: float) -> None:
    """Compare every new step with the reference and find the longest one."""
    lines = run.lines()
    new = sorted(lines[run.checked :], key=lambda line: line.step)
    run.checked = len(lines)
    outcome.steps = len(new)
    wrong = [
        line for line in new if run.expected and run.expected[line.step % PERIOD] != line.value
    ]
    if wrong:
        outcome.harmed.append(
            f"{len(wrong)} losses differ, first at step {wrong[0].step}: "
            f"{wrong[0].value} for {run.expected[wrong[0].step % PERIOD]}"
        )
    times = sorted(line.at_s for line in lines)
    gaps = [(after, after - before) for before, after in pairwise(times)]
    outcome.longest_step_ms = 1e3 * max(
        (gap for at, gap in gaps if began <= at <= settled), default=0.0
    )
    earlier = [gap for at, gap in gaps if began - RATE_S <= at < began]
    outcome.longest_step_before_ms = 1e3 * max(earlier, default=0.0)


def check_children(
    run: RunningProgram, outcome: Outcome, before: dict[str, Any], began: float, settled: float
) -> None:
    """Check that children forked after the probe left are as before; differences of children forked
    during the recording are only noted.
    """
    lines = run.children_lines()
    earlier = [line for line in lines if line["at"] < run.first_attach_s]
    later = changed_children([line for line in lines if line["at"] > settled], before, earlier)
    outcome.harmed += [f"child: {text}" for text in later]
    meanwhile = changed_children(
        [line for line in lines if began <= line["at"] <= settled], before, earlier
    )
    outcome.notes += [f"child during the attach: {text}" for text in meanwhile]
