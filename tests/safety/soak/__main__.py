"""Attaches to twelve programs many times, kills what attaches, and checks that no program is
harmed.

`python -m tests.safety.soak --python .venv-soak/bin/python` (or `make soak`). Each target is
attached to twice. Results are appended to a file; the same command continues where an earlier one
stopped. `--growth` measures memory instead. The exit code is 1 if a program was harmed.
"""

import argparse
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.safety.soak.cycle import Outcome, run_cycle
from tests.safety.soak.growth import measure_growth
from tests.safety.soak.kills import planned
from tests.safety.soak.results import Results, summary
from tests.safety.soak.targets import PERIOD, PROGRAMS, RUNNING, RunningProgram, TargetEnded, start

ATTACHES = 2
REFERENCE_STEPS = 2 * PERIOD
REFERENCE_S = 300.0
ENDING_S = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=600)
    parser.add_argument(
        "--minutes", type=float, default=120.0, help="no new target is started after this long"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="targets at the same time")
    parser.add_argument("--out", type=Path, default=Path(".soak/results.jsonl"))
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the Python of the programs"
    )
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--keep", action="store_true", help="keep the folders of harmed targets")
    parser.add_argument(
        "--summary", action="store_true", help="only print the figures of an earlier run"
    )
    parser.add_argument(
        "--growth", action="store_true", help="measure memory over --attaches to one program"
    )
    parser.add_argument("--attaches", type=int, default=400)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out, args.python = args.out.resolve(), args.python.absolute()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results(args.out, args.seed)
    try:
        if args.growth:
            return measure_growth(args.python, args.out.with_suffix(".growth.jsonl"), args.attaches)
        if not args.summary:
            Soak(args, results).run()
    except KeyboardInterrupt:
        print("stopped: the same command continues", file=sys.stderr)
    finally:
        results.close()
        end_all()
    text, held = summary([results.rows[cycle] for cycle in sorted(results.rows)])
    print(text)
    return 0 if held else 1


def end_all() -> None:
    """End every program, also those that a lane is starting."""
    until = time.monotonic() + ENDING_S
    while time.monotonic() < until:
        for run in tuple(RUNNING):
            run.end()
            if run.folder.name == "target":
                shutil.rmtree(run.folder.parent, ignore_errors=True)
        time.sleep(0.2)


class Soak:
    """One run: first the references, then targets on several lanes at once."""

    def __init__(self, args: argparse.Namespace, results: Results) -> None:
        self.args, self.results = args, results
        self.shared = args.out.parent
        self.references: dict[str, dict[int, str]] = {}
        self.ends = time.monotonic() + 60 * args.minutes
        self.waiting: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(self) -> None:
        """Carry out every cycle that has no row yet."""
        for program in self.args.programs:
            self.references[program] = self.reference(program)
        for group in range((self.args.cycles + ATTACHES - 1) // ATTACHES):
            if any(cycle not in self.results.rows for cycle in self.cycles_of(group)):
                self.waiting.put(group)
        lanes = [threading.Thread(target=self.lane, daemon=True) for _ in range(self.args.lanes)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def cycles_of(self, group: int) -> range:
        """Return the cycles that attach to target number `group`."""
        return range(group * ATTACHES, min((group + 1) * ATTACHES, self.args.cycles))

    def lane(self) -> None:
        """Attach to one target after the other."""
        while time.monotonic() < self.ends and not self.results.closed:
            try:
                group = self.waiting.get_nowait()
            except queue.Empty:
                return
            self.one_target(group)

    def one_target(self, group: int) -> None:
        """Start a target and attach to it; if it is harmed, continue with a new one."""
        program = self.args.programs[group % len(self.args.programs)]
        run: RunningProgram | None = None
        attach = 0
        for cycle in self.cycles_of(group):
            if self.results.closed:
                return
            outcome = Outcome(cycle, program, attach)
            try:
                if run is None:
                    run = self.start(program)
            except TargetEnded as reason:
                outcome.notes.append(f"target {reason}")
                self.results.add(outcome)
                continue
            kill = planned(self.args.seed, cycle, attach == 0)
            outcome.kill = vars(kill) if kill is not None else None
            run_cycle(run, outcome, kill, self.shared)
            self.results.add(outcome)
            self.report(outcome)
            attach += 1
            if outcome.harmed:
                self.clear(run, keep=self.args.keep)
                run, attach = None, 0
        if run is not None:
            self.clear(run)

    def start(self, program: str) -> RunningProgram:
        """Start a target in a new folder. Raises TargetEnded."""
        folder = Path(tempfile.mkdtemp(prefix=f"{program}-", dir=self.shared))
        try:
            run = start(self.args.python, program, folder / "target", self.shared)
        except TargetEnded:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        run.expected = self.references[program]
        return run

    def clear(self, run: RunningProgram, keep: bool = False) -> None:
        """End a target and remove its files."""
        run.end()
        if not keep:
            shutil.rmtree(run.folder.parent, ignore_errors=True)

    def report(self, outcome: Outcome) -> None:
        """Print one line of progress on stderr."""
        window = " with a window" if outcome.window else ""
        result = "; ".join(outcome.harmed)[:300] or f"{outcome.level}{window}"
        left = f"{len(self.results.rows)} of {self.args.cycles}"
        print(
            f"{left}: {outcome.program} attach {outcome.attach}, {outcome.hit or 'no kill'},"
            f" {outcome.took_s:.1f} s: {result}",
            file=sys.stderr,
            flush=True,
        )

    def reference(self, program: str) -> dict[int, str]:
        """Return the loss by step within a period, from two runs without perfscope; empty if they
        differ.
        """
        found = []
        for number in range(2):
            folder = self.shared / "reference" / f"{program}-{number}"
            if not (folder / "whole").exists():
                shutil.rmtree(folder, ignore_errors=True)
                run = start(self.args.python, program, folder, self.shared, REFERENCE_STEPS)
                self.wait_for_reference(run)
                (folder / "whole").touch()
            lines = (line.split() for line in (folder / "out").read_text().splitlines())
            found.append(
                {int(step): value for step, value, _ in lines if int(step) < REFERENCE_STEPS}
            )
        same = all(
            found[0][step] == run[step % PERIOD] for run in found for step in range(REFERENCE_STEPS)
        )
        print(
            f"{program}: losses of two runs without perfscope are"
            f" {'' if same else 'not '}identical",
            file=sys.stderr,
        )
        return {step: found[0][step] for step in range(PERIOD)} if same else {}

    def wait_for_reference(self, run: RunningProgram) -> None:
        """Wait until a program has logged all its steps, and end it."""
        end = time.monotonic() + REFERENCE_S
        while (
            len(run.lines()) < REFERENCE_STEPS
            and run.process.poll() is None
            and time.monotonic() < end
        ):
            time.sleep(0.1)
        run.end()
        if len(run.lines()) < REFERENCE_STEPS:
            raise SystemExit(
                f"{run.program} did not make {REFERENCE_STEPS} steps: {run.errors()[-800:]}"
            )


if __name__ == "__main__":
    sys.exit(main())
