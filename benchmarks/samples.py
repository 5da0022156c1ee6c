"""Attaches to every sample workload, ill and fixed, and holds the verdict and the prediction
against what is true.

For each: the verdict against the first line of the program, whether it is gone with --fix, and the
measured speed-up (by the program's own meter) against the predicted one. Usage: `python -m
benchmarks.samples [NAME ...] [--ranks 2]`.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.others import Others

FOLDER = Path(__file__).parent.parent / "sample_workloads"
DECLARED = re.compile(r'^"""Verdict: ([a-z-]+)(?:/([a-z-]+))?(?: \+ ([a-z-]+))?\. ')
WARM_UP_S = 4.0
OWN_S = 8.0


@dataclass(frozen=True)
class Sample:
    """A program and what its first line says it suffers from."""

    name: str
    id: str
    cause: str | None
    also: str | None


def samples() -> list[Sample]:
    """All programs that declare something."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        match = DECLARED.match(path.read_text().split("\n", 1)[0])
        if match:
            found.append(Sample(path.stem, *match.groups()))
    return found


class Running:
    """A sample that runs; `rates()` are the steps per second it has told so far."""

    def __init__(self, name: str, ranks: int, *arguments: str) -> None:
        program = ["-m", f"sample_workloads.{name}", *arguments]
        launcher = [
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            str(ranks),
            "--master_port",
            "29517",
        ]
        command = [sys.executable, *launcher, *program] if ranks > 1 else [sys.executable, *program]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in end()
        self.process = subprocess.Popen(
            command,
            stdout=self.log,
            stderr=subprocess.DEVNULL,
            cwd=FOLDER.parent,
            start_new_session=True,
        )
        end = time.monotonic() + 90
        while (
            len(self.said()) < 2 * ranks and time.monotonic() < end and self.process.poll() is None
        ):
            time.sleep(0.2)

    def said(self) -> list[dict[str, float]]:
        text = os.pread(self.log.fileno(), 1 << 20, 0).decode()
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]

    def meter(self, first: int) -> list[tuple[float, float]]:
        """(steps since the same rank's line before, ms of each) for every line from the `first`
        on.
        """
        lines, before, found = self.said(), dict[float, float](), []
        for at, line in enumerate(lines):
            rank = line.get("rank", 0)
            if at >= first:
                found.append((line["steps"] - before.get(rank, 0), line["step_ms"]))
            before[rank] = line["steps"]
        return found

    def end(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def attach(pid: int, seconds: float, keep: Path | None) -> dict[str, Any]:
    """The diagnosis of a running sample; its run folder stays at `keep` when that is given."""
    with tempfile.TemporaryDirectory() as folder:
        out = keep or Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "perfscope",
            "attach",
            str(pid),
            "--duration",
            str(seconds),
            "--json",
        ]
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"attach failed: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@dataclass(frozen=True)
class Look:
    """One run of a sample: the diagnosis, its own meter (steps and ms a step, a row a second),
    cores that others used.
    """

    answer: dict[str, Any]
    own: npt.NDArray[np.float64]
    others: float
    whole: npt.NDArray[np.float64]  # all rows of its meter, those while it was attached to too

    def step_ms(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """The mean step over these rows of its meter (last axis): a second with few long steps
        counts as a second.
        """
        steps, each = self.own[rows, 0], self.own[rows, 1]
        mean: npt.NDArray[np.float64] = (steps * each).sum(-1) / steps.sum(-1)
        return mean

    @property
    def own_ms(self) -> float:
        return float(self.step_ms(np.arange(len(self.own))))


@contextlib.contextmanager
def calibrated(sample: Sample) -> Iterator[None]:
    """A CPU's roofs are known only while the sample that needs them is looked at: they change what
    is found of others.
    """
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            command = [
                sys.executable,
                "-m",
                "perfscope",
                "doctor",
                "--calibrate",
                "--threads",
                "1",
                "--force",
            ]
            if sample.id == "compute-bound":
                subprocess.run(command, check=True, capture_output=True)
            yield
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def look(sample: Sample, ranks: int, args: argparse.Namespace, *arguments: str) -> Look | None:
    """Start it, watch its meter before and after we are attached (a window slows it); None when it
    says it cannot run here.
    """
    kept = args.keep / "-".join((sample.name, str(ranks), *arguments)) if args.keep else None
    running = Running(sample.name, ranks, *arguments)
    try:
        if running.process.poll() is not None:
            return None
        time.sleep(WARM_UP_S)
        others, own = Others(running.process.pid), []
        answer = None
        for _ in range(2):
            first = len(running.said()) + ranks
            time.sleep(args.own)
            own += running.meter(first)
            answer = answer or attach(running.process.pid, args.duration, kept)
        return Look(answer, np.array(own), others.cores(), np.array(running.meter(0)))
    finally:
        running.end()


def gain_of(ill: Look, fixed: Look) -> tuple[float, float, float]:
    """How much faster the fixed program is by its own meter, with the 95 % bootstrap interval over
    seconds.
    """
    rng = np.random.default_rng(0)
    means = [one.step_ms(rng.choice(len(one.own), (2000, len(one.own)))) for one in (ill, fixed)]
    low, high = np.percentile(means[0] / means[1], [2.5, 97.5])
    return ill.own_ms / fixed.own_ms, float(low), float(high)


def verdict_of(answer: dict[str, Any]) -> str:
    verdict = answer["verdict"]
    return verdict["id"] + (f"/{verdict['cause']}" if verdict["cause"] else "")


def prediction(sample: Sample, ill: Look, gain: tuple[float, float, float]) -> tuple[bool, str]:
    """(does it hold, the words): the measured gain, whose interval counts, inside low .. high and
    likely within 20 % of it.
    """
    found = next((one for one in ill.answer["findings"] if one["id"] == sample.id), None)
    said = (found or {}).get("speedup") or {}
    low, likely, high = (said.get(key) for key in ("low", "likely", "high"))
    if low is None or likely is None or high is None:
        holds = not high or gain[1] <= high
        return (
            holds,
            f"predicted at most {high:.2f}{'' if holds else ' NO'}" if high else "predicts nothing",
        )
    holds = low <= gain[2] and gain[1] <= high and 0.8 * gain[1] <= likely <= 1.2 * gain[2]
    return holds, f"predicted {likely:.2f} [{low:.2f} .. {high:.2f}]{'' if holds else ' NO'}"


def judge(sample: Sample, ranks: int, args: argparse.Namespace) -> bool:
    """One line of the table; True when everything holds."""
    ill = look(sample, ranks, args)
    fixed = look(sample, ranks, args, "--fix") if ill else None
    if ill is None or fixed is None:
        print(f"{sample.name:32} cannot run here", flush=True)
        return True
    wanted = sample.id + (f"/{sample.cause}" if sample.cause else "")
    said = verdict_of(ill.answer)
    found, left = ([one["id"] for one in one_look.answer["findings"]] for one_look in (ill, fixed))
    right = said == wanted and (sample.also is None or sample.also in found)
    healed = (sample.also or sample.id) not in left
    gain = gain_of(ill, fixed)
    holds, predicted = prediction(sample, ill, gain)
    words = (
        f"{'ok ' if right and healed and holds else 'NO '} {said:34}"
        f" {'healed' if healed else 'NOT HEALED'}"
    )
    measured = f"gain {gain[0]:5.2f} [{gain[1]:.2f} .. {gain[2]:.2f}] {predicted:32}"
    steps = f"step {ill.answer['steps']['mean_ms'] or 0:.1f} ms, own {ill.own_ms:.1f}"
    print(
        f"{sample.name:32} {words:50} {measured} {steps}; others {ill.others:.2f},"
        f" {fixed.others:.2f} cores",
        flush=True,
    )
    if not right or not healed:
        print(
            f"{'':32} wanted {wanted}; found {found}; with --fix"
            f" {[verdict_of(fixed.answer), *left]}",
            flush=True,
        )
    return right and healed and holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--duration", type=float, default=15.0)
    parser.add_argument(
        "--own",
        type=float,
        default=OWN_S,
        help="seconds for which its meter is read before and after",
    )
    parser.add_argument("--keep", type=Path, help="folder for the run folders")
    args = parser.parse_args()
    wanted = [one for one in samples() if not args.names or one.name in args.names]
    results = []
    for one in wanted:
        with calibrated(one):
            results.append(judge(one, args.ranks, args))
    print(f"{sum(results)} of {len(results)} hold")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
