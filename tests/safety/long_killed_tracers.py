"""Hundreds of entries whose tracer is killed, into programs that detect any change of their state.

`python -m tests.safety.long_killed_tracers --kills 600` kills at every ptrace request and at random
moments, freezes every twentieth tracer, and prints for each program how many kills and freezes hit
a tracer and the last line of the program. It fails if a program died, reports a wrong result, or
cannot be entered afterwards.
"""

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from perfscope.agent.entry import enter
from perfscope.agent.host import proc
from tests.agent.entry.target import read_output, writing
from tests.safety.tracer_faults import (
    COUNTING,
    EPOLL,
    NANOSLEEP,
    POLL,
    SELECT,
    SIGNALS,
    VECTORS,
    SignalSender,
    begin,
    end,
    end_and_read_last_line,
    enter_with_fault,
    entry_killed_after,
    entry_killed_at,
    last_line,
    mapped_code_pages,
    stop_itself,
)

SLEEP_S = 25
RESULTS = {
    COUNTING: "rounds True wrong 0",
    VECTORS: "rounds True wrong 0",
    EPOLL: "[(0, 1)]",
    NANOSLEEP: f"0 0 {SLEEP_S}",
    POLL: f"0 0 {SLEEP_S}",
    SELECT: "([], [], [])",
}
NAMES = {
    COUNTING: "busy Python",
    VECTORS: "torch on the CPU",
    SIGNALS: "3,000 signals per second",
    EPOLL: "epoll without a limit",
    NANOSLEEP: "nanosleep in C",
    POLL: "poll in C with a limit",
    SELECT: "select with a limit",
}
TIMED = (NANOSLEEP, POLL, SELECT)
LONGEST_DELAY_S = 0.003


@dataclass
class Tally:
    """How many tracers of one program were killed and frozen, and how long it was stopped."""

    killed: int = 0
    frozen: int = 0
    stopped_s: list[float] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    each = -(-args.kills // len(NAMES))
    choice = random.Random(args.seed)
    results = [run(program, each, choice) for program in NAMES]
    killed = sum(tally.killed for tally, _ in results)
    stopped = sorted(time_s for tally, _ in results for time_s in tally.stopped_s)
    print(f"{killed} kills; {len(stopped)} freezes; the target was stopped for")
    print(f"{stopped[len(stopped) // 2]:.3f} s (median), {stopped[-1]:.3f} s (most)")
    return 0 if all(fine for _, fine in results) and killed >= args.kills else 1


def run(program: str, kills: int, choice: random.Random) -> tuple[Tally, bool]:
    """Kill tracers of one kind of program until `kills` have hit one; return the tally and whether
    the program was unharmed.
    """
    tally, fine, started, answers = Tally(), True, 0, set[str]()
    while fine and tally.killed < kills:
        target, started = begin(program, SLEEP_S), started + 1
        sender = SignalSender(target.pid) if program == SIGNALS else None
        until = time.monotonic() + SLEEP_S - 6 if program in TIMED else float("inf")
        harass(target, kills, until, tally, choice)
        over = program in TIMED and target.poll() == 0
        fine = over or (target.poll() is None and is_entered(target))
        expected = str(sender.stop()) if sender else RESULTS[program]
        outcome = (
            (last_line if program in TIMED else end_and_read_last_line)(target)
            if fine
            else f"exit code {target.poll()}"
        )
        if (
            program == SELECT
        ):  # the kernel counts what is left of its limit between stops, which delays its end
            outcome = outcome.rpartition(" ")[0] if int(outcome.split()[-1]) >= SLEEP_S else outcome
        fine = fine and outcome == expected
        answers.add("as expected" if fine else f"{outcome}, not {expected}")
        end(target)
    print(
        f"{NAMES[program]:26} {started} runs, {tally.killed} kills, {tally.frozen} freezes:"
        f" {', '.join(answers)}",
        flush=True,
    )
    return tally, fine


def harass(
    target: subprocess.Popen[str], kills: int, until: float, tally: Tally, choice: random.Random
) -> None:
    """Enter many times, with tracers that are killed or frozen, until there were `kills` or
    CLOCK_MONOTONIC `until`.
    """
    at_requests = itertools.count()
    walking = True
    for number in itertools.count(1):
        if tally.killed >= kills or time.monotonic() > until or target.poll() is not None:
            break
        if number % 20 == 0:
            freeze(target.pid, choice.randrange(2, 14), tally)
        elif walking:
            walking = entry_killed_at(target.pid, next(at_requests))
            tally.killed += walking
        else:
            tally.killed += entry_killed_after(target.pid, choice.uniform(0, LONGEST_DELAY_S))
    assert target.poll() is not None or mapped_code_pages(target.pid) <= tally.killed + 8


def freeze(pid: int, moment: int, tally: Tally) -> None:
    """Enter with a tracer that is frozen before its request `moment`; record how long the target
    was stopped.
    """
    ended, longest_s = threading.Event(), [0.0]

    def watch() -> None:
        began = 0.0
        while not ended.wait(0.001):
            stat = proc.stat(pid)
            stopped = stat is not None and stat.state == "t"
            began = (began or time.monotonic()) if stopped else 0.0
            if stopped:
                longest_s[0] = max(longest_s[0], time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    report, fault_happened = enter_with_fault(pid, "pass", stop_itself, moment)
    ended.set()
    watcher.join()
    if fault_happened and report.error is None:
        tally.frozen += 1
        tally.stopped_s.append(longest_s[0])


def is_entered(target: subprocess.Popen[str]) -> bool:
    """Return whether the program can be entered, and runs the source once."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        enter(target.pid, writing(out), deadline_s=30)
        until = time.monotonic() + 30
        while not read_output(out) and time.monotonic() < until:
            time.sleep(0.01)
        return read_output(out) == "x"


if __name__ == "__main__":
    sys.exit(main())
