"""What being attached costs a run by an outside clock, and whether the overhead that perfscope
prints is the true one.

Attached blocks (one `perfscope attach` each, profiling window included) and unattached blocks
alternate within one run whose program logs when each step ended. Each is compared with the
unattached ones before and after it. Printed per scene:

- throughput while recording, and over the whole command with its start and its diagnosis, over
  throughput unattached, each with
  a block-bootstrap interval over pairs;
- how many of the printed intervals contain what the clock measured, and how wide they are.

Pairs in which the rest of the machine used more than QUIET_CORES cores are set aside, and counted.
A pair takes 2.5 times the length of a block. Runs that were kept in the same file are pooled.
Usage: `python -m benchmarks.overhead [--pairs 20] [--length 15] [--scene NAME] [--depth DEPTH]
[--keep FILE]`
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.others import Others

SCENES = {
    # each fills two cores
    "one-rank": (
        "--threads",
        "2",
        "--workers",
        "1",
        "--size",
        "512",
        "--step-ms",
        "40",
        "--fetch-ms",
        "1",
    ),
    "two-ranks": (
        "--ranks",
        "2",
        "--threads",
        "1",
        "--workers",
        "1",
        "--step-ms",
        "40",
        "--fetch-ms",
        "1",
    ),
    "loader-workers": ("--threads", "1", "--workers", "2", "--step-ms", "10", "--fetch-ms", "16"),
    "short-steps": ("--threads", "1", "--workers", "1", "--step-ms", "2", "--fetch-ms", "1"),
    "slow-steps-between": (
        (
            "--threads",
            "2",
            "--workers",
            "1",
            "--size",
            "512",
            "--step-ms",
            "20",
            "--fetch-ms",
            "1",
        )
        + ("--slow-every", "100", "--slow-ms", "400")
    ),
}
FLOOR = 0.97
WIDEST = 0.04
FIRST_STEPS, LONGEST_START_S, WARM_UP_S = 20, 120.0, 4.0
SETTLE_S = 1.0
QUIET_CORES = 0.1
BLOCK = 2  # neighboring pairs share an unattached block


@dataclass(frozen=True)
class Pair:
    """One attached block against its unattached neighbors: ratios of steps per second, and the
    printed overhead.
    """

    scene: str
    depth: str
    recording_ratio: float
    command_ratio: float
    others: float
    share: float
    low: float
    high: float
    agent_cpu_s: float

    @property
    def holds_truth(self) -> bool:
        """Does the printed interval contain what the clock measured?"""
        return self.low <= 1.0 - self.recording_ratio <= self.high


@dataclass(frozen=True)
class Attached:
    """One attach (CLOCK_MONOTONIC ns): the command from start to end, the recording within, what
    was printed.
    """

    command: tuple[int, int]
    recording: tuple[int, int]
    overhead: dict[str, float]
    cpu_s: float


def unattached(seconds: float) -> tuple[int, int]:
    """Return the begin and end of a time in which nobody is attached."""
    began = time.monotonic_ns()
    time.sleep(seconds)
    return began, time.monotonic_ns()


def attach(pid: int, depth: str, seconds: float, out: Path) -> Attached:
    """Attach once, as a user would."""
    command = [
        sys.executable,
        "-m",
        "perfscope",
        "attach",
        str(pid),
        "--duration",
        str(seconds),
        "--depth",
        depth,
    ]
    before, began = os.times(), time.monotonic_ns()
    done = subprocess.run(
        [*command, "--json", "--out", str(out)], capture_output=True, text=True, check=True
    )
    ended, after = time.monotonic_ns(), os.times()
    cpu_s = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    answer = json.loads(done.stdout)
    first = int(json.loads((out / "manifest.json").read_text())["zero_monotonic_ns"])
    overhead = answer["overhead"] or dict.fromkeys(("share", "low", "high"), float("nan"))
    return Attached((began, ended), (first, first + int(answer["span_s"] * 1e9)), overhead, cpu_s)


def rate(marks: npt.NDArray[np.int64], window: tuple[int, int]) -> float:
    """Return steps per second inside a window, from whole steps."""
    inside = marks[(marks >= window[0]) & (marks < window[1])]
    return (len(inside) - 1) / ((inside[-1] - inside[0]) / 1e9)


def await_steps(marks: Path) -> None:
    """Wait until the program steps, and some seconds more."""
    until = time.monotonic() + LONGEST_START_S
    while not marks.exists() or marks.read_text().count("\n") < FIRST_STEPS:
        if time.monotonic() > until:
            raise SystemExit("the program did not start")
        time.sleep(0.2)
    time.sleep(WARM_UP_S)


def measured(name: str, depth: str, count: int, length_s: float) -> list[Pair]:
    """Return `count` pairs of one run."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        target = [
            sys.executable,
            str(Path(__file__).with_name("overhead_target.py")),
            text,
            *SCENES[name],
        ]
        process = subprocess.Popen(target, start_new_session=True)
        try:
            await_steps(folder / "marks.0")
            without, during, rest = [unattached(length_s)], [], []
            for number in range(count):
                others = Others(process.pid)
                during.append(attach(process.pid, depth, length_s, folder / str(number)))
                time.sleep(SETTLE_S)
                without.append(unattached(length_s))
                rest.append(others.cores())
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        marks = np.array((folder / "marks.0").read_text().split()[:-1], dtype=np.int64)
    free = [rate(marks, one) for one in without]
    pairs = []
    for at, one in enumerate(during):
        usual = (free[at] + free[at + 1]) / 2
        ratios = rate(marks, one.recording) / usual, rate(marks, one.command) / usual
        printed = {key: float(one.overhead[key]) for key in ("share", "low", "high")}
        pairs.append(Pair(name, depth, *ratios, others=rest[at], agent_cpu_s=one.cpu_s, **printed))
    return pairs


def interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean ratio with its 95 % bootstrap interval over blocks of pairs."""
    rng = np.random.default_rng(0)
    blocks = [ratios[at : at + BLOCK] for at in range(0, len(ratios), BLOCK)]
    picks = rng.integers(0, len(blocks), (5000, len(blocks)))
    means = [float(np.concatenate([blocks[at] for at in pick]).mean()) for pick in picks]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(ratios.mean()), float(low), float(high)


def lines(name: str, depth: str, pairs: list[Pair]) -> list[str]:
    """Return the answer for one scene and depth."""
    quiet = [one for one in pairs if one.others <= QUIET_CORES]
    if len(quiet) < 4:
        return [f"{name} {depth}: too few quiet pairs ({len(quiet)} of {len(pairs)})"]
    found = [f"{name} {depth}: {len(quiet)} of {len(pairs)} pairs quiet"]
    for what in ("recording", "command"):
        mean, low, high = interval(np.array([getattr(one, f"{what}_ratio") for one in quiet]))
        word = "holds" if low >= FLOOR else "MISSED" if high < FLOOR else "not resolvable here"
        found.append(
            f"  {what:9} ratio {mean:.4f} [{low:.4f} .. {high:.4f}]  floor {FLOOR}: {word}"
        )
    widths = np.array([one.high - one.low for one in quiet])
    held, share = (
        sum(one.holds_truth for one in quiet),
        float(np.mean([one.share for one in quiet])),
    )
    narrow, cpu_s = (
        int((widths <= WIDEST).sum()),
        float(np.mean([one.agent_cpu_s for one in quiet])),
    )
    found.append(
        f"  printed {share:.2%}; {held} of {len(quiet)} intervals contain what the clock measured"
    )
    found.append(
        f"  {narrow} of {len(quiet)} are at most {WIDEST} wide (median {np.median(widths):.3f});"
        f" agent {cpu_s:.2f} s of CPU time"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--length", type=float, default=15.0, help="seconds of a block")
    parser.add_argument(
        "--scene", choices=SCENES, action="append", help="only these; default: the first three"
    )
    parser.add_argument("--depth", choices=("kernels", "probe", "observe"), default="kernels")
    parser.add_argument("--keep", type=Path, help="JSON lines to pool with and add to")
    args = parser.parse_args()
    for name in args.scene or list(SCENES)[:3]:
        pairs = measured(name, args.depth, args.pairs, args.length) if args.pairs else []
        if args.keep:
            with args.keep.open("a") as kept:
                kept.writelines(json.dumps(asdict(one)) + "\n" for one in pairs)
            pairs = [Pair(**json.loads(text)) for text in args.keep.read_text().splitlines()]
            pairs = [one for one in pairs if one.scene == name and one.depth == args.depth]
        print("\n".join(lines(name, args.depth, pairs)), flush=True)


if __name__ == "__main__":
    main()
