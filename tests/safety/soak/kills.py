"""What is killed in a cycle and when: chosen by the seed, so that a run can be repeated and
resumed.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.safety.soak.targets import children, status_of

FIRST_SHARE, LATER_SHARE = 0.2, 0.5
"""Share of killed cycles: of the first attach to a process, and of the later ones."""
DURATION_S = 4.0
ENTRY_S = {"tracer": 0.004, "agent": 0.03, "interrupt": 0.05, "freeze": 0.03}
LONGEST_FREEZE_S = 7.0
WATCH_S = 20.0


@dataclass(frozen=True)
class Kill:
    """`what` (agent, tracer, spy, interrupt, freeze) in `phase`, `after_s` after the entry, or
    py-spy, began.

    py-spy runs at depth `observe` only, so that a cycle in which it is killed attaches with that
    depth.
    """

    what: str
    phase: str
    after_s: float
    frozen_s: float = 0.0

    @property
    def depth(self) -> str:
        """The depth to attach with."""
        return "observe" if self.what == "spy" else "kernels"


def planned(seed: int, cycle: int, first: bool) -> Kill | None:
    """The kill of one cycle, or None."""
    chance = random.Random(f"{seed}/{cycle}")
    if chance.random() >= (FIRST_SHARE if first else LATER_SHARE):
        return None
    what = chance.choice(
        ("agent", "agent", "tracer", "tracer", "interrupt", "freeze", *(() if first else ("spy",)))
    )
    phase = {"tracer": "entry", "spy": "window"}.get(what) or chance.choice(
        ("entry", "window", "exit")
    )
    frozen_s = chance.uniform(0.0, LONGEST_FREEZE_S) if what == "freeze" else 0.0
    spans = {
        "entry": (0.0, ENTRY_S.get(what, 0.0)),
        "window": (0.05, 2.0),
        "exit": (DURATION_S - 0.1, DURATION_S + 0.8),
    }
    return Kill(what, phase, chance.uniform(*spans[phase]), frozen_s)


class Killer:
    """Carries out one kill against a running agent; `done` says what was hit, or why nothing
    was.
    """

    def __init__(self, kill: Kill, agent: subprocess.Popen[bytes], target: int) -> None:
        self.kill, self.agent, self.target = kill, agent, target
        self.done = "missed: the agent ended first"
        self.thread = threading.Thread(target=self.carry_out, daemon=True)
        self.thread.start()

    def carry_out(self) -> None:
        kind = self.kill.what
        begun = self.wait_for(is_sampler if kind == "spy" else is_tracer)
        if begun is None:
            return
        if kind == "tracer":
            begun = self.wait_until_traced(begun)
        time.sleep(self.kill.after_s)
        if kind in ("tracer", "spy"):
            self.hit(begun, signal.SIGKILL, "tracer" if kind == "tracer" else "py-spy")
        elif kind == "interrupt":
            self.hit(self.agent.pid, signal.SIGINT, "agent")
        else:
            if kind == "freeze":
                self.hit(self.agent.pid, signal.SIGSTOP, "agent")
                time.sleep(self.kill.frozen_s)
            self.hit(self.agent.pid, signal.SIGKILL, "agent")

    def wait_until_traced(self, first: int) -> int:
        """Return the process that traces the target as soon as one does: for milliseconds. On
        CPython 3.14 none may.

        Until then `first`, which may be entering a worker of the target.
        """
        end = time.monotonic() + WATCH_S
        while time.monotonic() < end and self.agent.poll() is None:
            thread = status_of(self.target).get("TracerPid", "0")
            if thread != "0":
                return int(status_of(int(thread)).get("Tgid", first))
            if not is_tracer(first) and not any(map(is_tracer, children(self.agent.pid))):
                break
        return first

    def hit(self, pid: int, number: signal.Signals, name: str) -> None:
        """Send a signal to a process that is still a process of perfscope."""
        if self.agent.poll() is not None and pid == self.agent.pid:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            self.done = f"missed: the {name} ended first"
        else:
            self.done = f"{number.name} to the {name}"

    def wait_for(self, wanted: Callable[[int], bool]) -> int | None:
        """The first child of the agent that is wanted, as soon as it is there."""
        end = time.monotonic() + WATCH_S
        while self.agent.poll() is None and time.monotonic() < end:
            for pid in children(self.agent.pid):
                if wanted(pid):
                    return pid
            time.sleep(0.0003)
        return None


def is_tracer(pid: int) -> bool:
    """Whether a process is the child that enters the target: it leads a session of its own."""
    return status_of(pid).get("NSsid", "").split("\t")[-1] == str(pid)


def is_sampler(pid: int) -> bool:
    """Whether a process is py-spy."""
    try:
        return "py-spy" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    except OSError:
        return False
