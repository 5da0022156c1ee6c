"""What being attached costs a run: steps per second with the agent on over steps per second without, in one run.

Windows with and without an attached agent alternate; each attached window is held against the free ones before and after it.
The ratio comes with a block-bootstrap interval over windows. Windows in which the rest of the machine used a core for more
than QUIET_CORES of the time are set aside, and counted. An interval that holds the floor is "not resolvable here".
Usage: `python -m benchmarks.overhead [--keep FILE]`; runs kept in the same file are pooled.
"""

import argparse
import json
import os
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
    # name: (loader workers, step ms, fetch ms, floor of the ratio)
    "compute, 5 ms steps": (1, 5.0, 2.0, 0.99),
    "compute, 1 ms steps": (1, 1.0, 0.3, 0.99),
    "workers fill every core": (os.cpu_count() or 2, 2.0, 20.0, 0.98),
}
OBSERVE_FLOOR = 0.995
SETTLE_S = 0.8
QUIET_CORES = 0.1
BLOCK = 2  # neighbouring windows share a free window


@dataclass(frozen=True)
class Window:
    """One attached window beside the free time around it; `ratio` of steps per second."""

    scene: str
    depth: str
    ratio: float
    others: float
    stated: float
    agent_cpu_s: float


def free(seconds: float) -> tuple[int, int]:
    """A stretch of time in which nobody is attached, as CLOCK_MONOTONIC readings."""
    began = time.monotonic_ns()
    time.sleep(seconds)
    return began, time.monotonic_ns()


def attached(pid: int, depth: str, seconds: float, out: Path) -> tuple[tuple[int, int], float, float]:
    """(the steady part of one attach, the overhead share that perfscope states, CPU seconds of the whole command)."""
    command = [sys.executable, "-m", "perfscope", "attach", str(pid), "--duration", str(seconds), "--depth", depth]
    before = os.times()
    done = subprocess.run([*command, "--json", "--out", str(out)], capture_output=True, text=True, check=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    sources = {one["name"]: one for one in json.loads(done.stdout)["sources"]}
    stated = (sources.get("probe") or {}).get("overhead_share") or 0.0
    first = json.loads((out / "manifest.json").read_text())["zero_monotonic_ns"] + int(SETTLE_S * 1e9)
    return (first, first + int((seconds - SETTLE_S) * 1e9)), stated, cpu_s


def rate(marks: npt.NDArray[np.int64], window: tuple[int, int]) -> float:
    """Steps per second inside a window, from whole steps."""
    inside = marks[(marks >= window[0]) & (marks < window[1])]
    return (len(inside) - 1) / ((inside[-1] - inside[0]) / 1e9)


def measured(name: str, depth: str, count: int, length_s: float) -> list[Window]:
    """`count` attached windows of one run."""
    workers, step_ms, fetch_ms, _ = SCENES[name]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        target = [sys.executable, str(Path(__file__).with_name("overhead_target.py")), str(folder / "marks")]
        process = subprocess.Popen([*target, str(workers), str(step_ms), str(fetch_ms)])
        try:
            time.sleep(6)
            without, during, rest = [free(length_s)], [], []
            for number in range(count):
                others = Others()
                during.append(attached(process.pid, depth, length_s + SETTLE_S, folder / str(number)))
                time.sleep(SETTLE_S)
                without.append(free(length_s))
                rest.append(others.cores())
        finally:
            process.kill()
            process.wait()
        marks = np.array((folder / "marks").read_text().split()[:-1], dtype=np.int64)
    rates = [rate(marks, one) for one in without]
    return [
        Window(name, depth, rate(marks, when) / ((rates[at] + rates[at + 1]) / 2), rest[at], stated, cpu_s)
        for at, (when, stated, cpu_s) in enumerate(during)
    ]


def interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean ratio with its 95 % bootstrap interval over blocks of windows."""
    rng = np.random.default_rng(0)
    blocks = [ratios[at : at + BLOCK] for at in range(0, len(ratios), BLOCK)]
    picks = rng.integers(0, len(blocks), (5000, len(blocks)))
    means = [float(np.concatenate([blocks[at] for at in pick]).mean()) for pick in picks]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(ratios.mean()), float(low), float(high)


def line(name: str, depth: str, windows: list[Window]) -> str:
    """The answer for one scene and depth."""
    floor = OBSERVE_FLOOR if depth == "observe" else SCENES[name][3]
    quiet = [one for one in windows if one.others <= QUIET_CORES]
    if len(quiet) < 4:
        return f"{name:24} {depth:8} too few quiet windows ({len(quiet)} of {len(windows)})"
    mean, low, high = interval(np.array([one.ratio for one in quiet]))
    word = "holds" if low >= floor else "MISSED" if high < floor else "not resolvable here"
    stated = float(np.mean([one.stated for one in quiet]))
    return (
        f"{name:24} {depth:8} ratio {mean:.4f} [{low:.4f} .. {high:.4f}]  floor {floor}: {word};  "
        f"{len(quiet)} of {len(windows)} windows quiet; the probe states {stated:.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--length", type=float, default=4.0, help="seconds of a window")
    parser.add_argument("--scene", type=int, choices=range(len(SCENES)), help="only this one")
    parser.add_argument("--depth", choices=("probe", "observe"), help="only this one")
    parser.add_argument("--keep", type=Path, help="JSON lines to pool with and add to")
    args = parser.parse_args()
    scenes = list(SCENES) if args.scene is None else [list(SCENES)[args.scene]]
    for depth in (args.depth,) if args.depth else ("probe", "observe"):
        for name in scenes:
            windows = measured(name, depth, args.windows, args.length) if args.windows else []
            if args.keep:
                with args.keep.open("a") as kept:
                    kept.writelines(json.dumps(asdict(one)) + "\n" for one in windows)
                windows = [Window(**json.loads(text)) for text in args.keep.read_text().splitlines()]
                windows = [one for one in windows if one.scene == name and one.depth == depth]
            print(line(name, depth, windows), flush=True)


if __name__ == "__main__":
    main()
