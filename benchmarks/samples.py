"""Compares the verdict and the predicted speedup for each sample workload with the truth.

The verdict is compared with the first line of the program, and must be gone with --fix. The
predicted speedup is compared with the one that the program measures itself.
Usage: `python -m benchmarks.samples [NAME ...] [--ranks 2]`.
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

from benchmarks.other_load import Others

FOLDER = Path(__file__).parent.parent / "sample_workloads"
DECLARED = re.compile(r'^"""Verdict: ([a-z-]+)(?:/([a-z-]+))?(?: \+ ([a-z-]+))?\. ')
START_TIMEOUT_S = 90.0
WARM_UP_S = 4.0
OWN_S = 8.0


@dataclass(frozen=True)
class Sample:
    """A program and the verdict that its first line declares."""

    name: str
    id: str
    cause: str | None
    also: str | None


def find_samples() -> list[Sample]:
    """Return all programs that declare a verdict."""
    found = []
    for path in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("serving/*.py")]):
        match = DECLARED.match(path.read_text().split("\n", 1)[0])
        if match:
            name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
            found.append(Sample(name, *match.groups()))
    return found


class RunningSample:
    """A running sample and what it has measured so far."""

    def __init__(
        self, name: str, ranks: int, *arguments: str, env: dict[str, str] | None = None
    ) -> None:
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
            env=env,
            start_new_session=True,
        )
        until = time.monotonic() + START_TIMEOUT_S
        while len(self.measurements()) < 2 * ranks and self.process.poll() is None:
            if time.monotonic() > until:
                break
            time.sleep(0.2)

    def measurements(self) -> list[dict[str, float]]:
        """Return the lines of its meter."""
        text = os.pread(self.log.fileno(), 1 << 20, 0).decode()
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]

    def meter(self, first: int) -> list[tuple[float, float]]:
        """Return (steps since the rank's last line, ms per step) of each line from `first` on."""
        before: dict[float, float] = {}
        rows: list[tuple[float, float]] = []
        for index, line in enumerate(self.measurements()):
            rank = line.get("rank", 0)
            if index >= first:
                rows.append((line["steps"] - before.get(rank, 0), line["step_ms"]))
            before[rank] = line["steps"]
        return rows

    def end(self) -> None:
        """End the program and its workers."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def attach(pid: int, seconds: float, keep: Path | None) -> dict[str, Any]:
    """Attach to a running sample; return the diagnosis. The run folder is kept at `keep`."""
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
class SampleRun:
    """One run of a sample: the diagnosis and the measurements of the program itself."""

    answer: dict[str, Any]
    meter: npt.NDArray[np.float64]
    """(steps, ms per step) of each second while perfscope was not attached."""
    others: float
    """Cores that other processes used."""
    whole_meter: npt.NDArray[np.float64]
    """The same for the whole run."""

    def step_ms(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return the mean step over rows of the meter (last axis); each second counts the same."""
        steps, ms_per_step = self.meter[rows, 0], self.meter[rows, 1]
        mean: npt.NDArray[np.float64] = (steps * ms_per_step).sum(-1) / steps.sum(-1)
        return mean

    @property
    def mean_step_ms(self) -> float:
        """The mean step by the program's own meter."""
        return float(self.step_ms(np.arange(len(self.meter))))


@contextlib.contextmanager
def calibrate_for_sample(sample: Sample) -> Iterator[None]:
    """Calibrate the CPU for the sample that needs it only: the peak rates change other findings."""
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


def run_sample(
    sample: Sample, ranks: int, args: argparse.Namespace, *arguments: str
) -> SampleRun | None:
    """Run a sample, attach to it, and read its meter before and after that.

    Return None when the sample cannot run on this machine.
    """
    kept = args.keep / "-".join((sample.name, str(ranks), *arguments)) if args.keep else None
    running = RunningSample(sample.name, ranks, *arguments)
    try:
        if running.process.poll() is not None:
            return None
        time.sleep(WARM_UP_S)
        others, meter = Others(running.process.pid), []
        answer = None
        for _ in range(2):
            first = len(running.measurements()) + ranks
            time.sleep(args.own)
            meter += running.meter(first)
            answer = answer or attach(running.process.pid, args.duration, kept)
        return SampleRun(answer, np.array(meter), others.cores(), np.array(running.meter(0)))
    finally:
        running.end()


def measured_speedup(slow: SampleRun, fixed: SampleRun) -> tuple[float, float, float]:
    """Return the speedup of the fixed program by its own meter, with its 95 % interval.

    The interval is a bootstrap over seconds.
    """
    rng = np.random.default_rng(0)
    means = [
        run.step_ms(rng.choice(len(run.meter), (2000, len(run.meter)))) for run in (slow, fixed)
    ]
    low, high = np.percentile(means[0] / means[1], [2.5, 97.5])
    return slow.mean_step_ms / fixed.mean_step_ms, float(low), float(high)


def verdict_of(answer: dict[str, Any]) -> str:
    """Return the verdict as the samples declare it."""
    verdict = answer["verdict"]
    return verdict["id"] + (f"/{verdict['cause']}" if verdict["cause"] else "")


def prediction(
    sample: Sample, slow: SampleRun, gain: tuple[float, float, float]
) -> tuple[bool, str]:
    """Return whether the prediction holds, and a text about it.

    The interval of the measured speedup must overlap low .. high, and `likely` must be within 20 %
    of it.
    """
    findings = [each for each in slow.answer["findings"] if each["id"] == sample.id]
    predicted = (findings[0]["speedup"] if findings else None) or {}
    low, likely, high = (predicted.get(key) for key in ("low", "likely", "high"))
    if low is None or likely is None or high is None:
        if not high:
            return True, "predicts nothing"
        holds = bool(gain[1] <= high)
        return holds, f"predicted at most {high:.2f}{'' if holds else ' NO'}"
    holds = low <= gain[2] and gain[1] <= high and 0.8 * gain[1] <= likely <= 1.2 * gain[2]
    return holds, f"predicted {likely:.2f} [{low:.2f} .. {high:.2f}]{'' if holds else ' NO'}"


def check_sample(sample: Sample, ranks: int, args: argparse.Namespace) -> bool:
    """Print one line of the table; return whether everything holds."""
    slow = run_sample(sample, ranks, args)
    fixed = run_sample(sample, ranks, args, "--fix") if slow else None
    if slow is None or fixed is None:
        print(f"{sample.name:32} cannot run on this machine", flush=True)
        return True
    wanted = sample.id + (f"/{sample.cause}" if sample.cause else "")
    verdict = verdict_of(slow.answer)
    found = [finding["id"] for finding in slow.answer["findings"]]
    remaining = [finding["id"] for finding in fixed.answer["findings"]]
    is_right = verdict == wanted and (sample.also is None or sample.also in found)
    is_fixed = (sample.also or sample.id) not in remaining
    gain = measured_speedup(slow, fixed)
    holds, predicted = prediction(sample, slow, gain)
    words = (
        f"{'ok ' if is_right and is_fixed and holds else 'NO '} {verdict:34}"
        f" {'fixed' if is_fixed else 'NOT FIXED'}"
    )
    measured = f"speedup {gain[0]:5.2f} [{gain[1]:.2f} .. {gain[2]:.2f}] {predicted:32}"
    steps = f"step {slow.answer['steps']['mean_ms'] or 0:.1f} ms, own {slow.mean_step_ms:.1f}"
    print(
        f"{sample.name:32} {words:50} {measured} {steps}; others {slow.others:.2f},"
        f" {fixed.others:.2f} cores",
        flush=True,
    )
    if not is_right or not is_fixed:
        print(
            f"{'':32} wanted {wanted}; found {found}; with --fix"
            f" {[verdict_of(fixed.answer), *remaining]}",
            flush=True,
        )
    return is_right and is_fixed and holds


def main() -> int:
    """Check the samples; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--duration", type=float, default=15.0)
    parser.add_argument(
        "--own",
        type=float,
        default=OWN_S,
        help="seconds to read its meter before and after",
    )
    parser.add_argument("--keep", type=Path, help="folder for the run folders")
    args = parser.parse_args()
    wanted = [sample for sample in find_samples() if not args.names or sample.name in args.names]
    results = []
    for sample in wanted:
        with calibrate_for_sample(sample):
            results.append(check_sample(sample, args.ranks, args))
    print(f"{sum(results)} of {len(results)} hold")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
