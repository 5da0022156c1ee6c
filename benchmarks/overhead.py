"""Measures the overhead of attaching with an outside clock, and checks the printed overhead.

Attached blocks (one `perfscope attach` each, profiling window included) and unattached blocks
alternate within one run, whose program logs when each step ends. Each attached block is compared
with the unattached blocks before and after it. For each scene, this prints:

- the throughput while recording, and over the whole command with its start and its diagnosis,
  divided by the throughput unattached, each with a block-bootstrap interval over pairs;
- how many of the printed intervals contain the overhead that the clock measured (the median of all
  pairs: a single pair has the noise of the machine), and their width.

Pairs in which other processes used more than QUIET_CORES cores are counted, but not used. A pair
takes 2.5 times the length of a block. Runs that were kept in the same file are pooled.
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

from benchmarks.other_load import Others

SCENES = {
    # Each scene fills two cores.
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
    "very-short-steps": ("--workers", "0", "--size", "32", "--step-ms", "0.02", "--fetch-ms", "0"),
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
BLOCK = 2
"""Neighboring pairs share an unattached block."""


@dataclass(frozen=True)
class Pair:
    """One attached block and its unattached neighbors: ratios of steps per second, and the printed
    overhead.
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


@dataclass(frozen=True)
class AttachedBlock:
    """One attach: what was printed, and begin and end (CLOCK_MONOTONIC, ns) of the command and of
    its recording.
    """

    command: tuple[int, int]
    recording: tuple[int, int]
    overhead: dict[str, float]
    cpu_s: float


def wait_unattached(seconds: float) -> tuple[int, int]:
    """Wait, and return the begin and end of that time."""
    began = time.monotonic_ns()
    time.sleep(seconds)
    return began, time.monotonic_ns()


def attach(pid: int, depth: str, seconds: float, out: Path) -> AttachedBlock:
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
    return AttachedBlock(
        (began, ended), (first, first + int(answer["span_s"] * 1e9)), overhead, cpu_s
    )


def rate(marks: npt.NDArray[np.int64], window: tuple[int, int]) -> float:
    """Return steps per second inside a window, from whole steps."""
    inside = marks[(marks >= window[0]) & (marks < window[1])]
    return (len(inside) - 1) / ((inside[-1] - inside[0]) / 1e9)


def await_steps(marks: Path) -> None:
    """Wait until the program has made its first steps, and for its warm-up."""
    until = time.monotonic() + LONGEST_START_S
    while not marks.exists() or marks.read_text().count("\n") < FIRST_STEPS:
        if time.monotonic() > until:
            raise SystemExit("the program did not start")
        time.sleep(0.2)
    time.sleep(WARM_UP_S)


def measure_scene(name: str, depth: str, count: int, length_s: float) -> list[Pair]:
    """Run a scene and return `count` pairs."""
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
            without, during, rest = [wait_unattached(length_s)], [], []
            for number in range(count):
                others = Others(process.pid)
                during.append(attach(process.pid, depth, length_s, folder / str(number)))
                time.sleep(SETTLE_S)
                without.append(wait_unattached(length_s))
                rest.append(others.cores())
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        marks = np.array((folder / "marks.0").read_text().split()[:-1], dtype=np.int64)
    unattached = [rate(marks, block) for block in without]
    pairs = []
    for index, block in enumerate(during):
        usual = (unattached[index] + unattached[index + 1]) / 2
        ratios = rate(marks, block.recording) / usual, rate(marks, block.command) / usual
        printed = {key: float(block.overhead[key]) for key in ("share", "low", "high")}
        pair = Pair(name, depth, *ratios, others=rest[index], agent_cpu_s=block.cpu_s, **printed)
        pairs.append(pair)
    return pairs


def interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean ratio with its 95 % bootstrap interval over blocks of pairs."""
    rng = np.random.default_rng(0)
    blocks = [ratios[at : at + BLOCK] for at in range(0, len(ratios), BLOCK)]
    picks = rng.integers(0, len(blocks), (5000, len(blocks)))
    means = [float(np.concatenate([blocks[at] for at in pick]).mean()) for pick in picks]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(ratios.mean()), float(low), float(high)


def summary_lines(name: str, depth: str, pairs: list[Pair]) -> list[str]:
    """Return the results of one scene and depth."""
    quiet = [pair for pair in pairs if pair.others <= QUIET_CORES]
    if len(quiet) < 4:
        return [f"{name} {depth}: too few quiet pairs ({len(quiet)} of {len(pairs)})"]
    found = [f"{name} {depth}: {len(quiet)} of {len(pairs)} pairs quiet"]
    for what in ("recording", "command"):
        mean, low, high = interval(np.array([getattr(pair, f"{what}_ratio") for pair in quiet]))
        word = "holds" if low >= FLOOR else "MISSED" if high < FLOOR else "not resolvable"
        found.append(
            f"  {what:9} ratio {mean:.4f} [{low:.4f} .. {high:.4f}]  floor {FLOOR}: {word}"
        )
    widths = np.array([pair.high - pair.low for pair in quiet])
    measured = 1.0 - float(np.median([pair.recording_ratio for pair in quiet]))
    correct = sum(pair.low <= measured <= pair.high for pair in quiet)
    share = float(np.mean([pair.share for pair in quiet]))
    narrow = int((widths <= WIDEST).sum())
    cpu_s = float(np.mean([pair.agent_cpu_s for pair in quiet]))
    found.append(
        f"  printed {share:.2%}; {correct} of {len(quiet)} intervals contain {measured:.2%}"
    )
    found.append(
        f"  {narrow} of {len(quiet)} are at most {WIDEST} wide (median {np.median(widths):.3f});"
        f" agent {cpu_s:.2f} s of CPU time"
    )
    return found


def main() -> None:
    """Measure the scenes and print the results."""
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
        pairs = measure_scene(name, args.depth, args.pairs, args.length) if args.pairs else []
        if args.keep:
            with args.keep.open("a") as kept:
                kept.writelines(json.dumps(asdict(pair)) + "\n" for pair in pairs)
            pairs = [Pair(**json.loads(text)) for text in args.keep.read_text().splitlines()]
            pairs = [pair for pair in pairs if (pair.scene, pair.depth) == (name, args.depth)]
        print("\n".join(summary_lines(name, args.depth, pairs)), flush=True)


if __name__ == "__main__":
    main()
