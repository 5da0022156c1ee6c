"""What being attached costs a run: steps per second with the agent on over steps per second without, in one run.

Windows with and without an attached agent alternate; the ratio comes with a block-bootstrap interval over pairs of
windows. An interval wider than the question is printed as "not resolvable". Usage: `python -m benchmarks.overhead`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

SCENES = {
    # name: (loader workers, step ms, fetch ms, floor of the ratio)
    "compute, 5 ms steps": (2, 5.0, 2.0, 0.99),
    "compute, 1 ms steps": (1, 1.0, 0.5, 0.99),
    "workers fill every core": (os.cpu_count() or 2, 2.0, 20.0, 0.98),
}
SETTLE_S = 0.7


def windows(
    pid: int, depth: str, pairs: int, length_s: float, folder: Path
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[float], list[float]]:
    """(attached windows, free windows) as CLOCK_MONOTONIC pairs, overhead shares that perfscope states, agent CPU shares."""
    on, off, stated, cpu = [], [], [], []
    for number in range(pairs):
        began = time.monotonic_ns()
        time.sleep(length_s)
        off.append((began, time.monotonic_ns()))
        out = folder / f"{depth}{number}"
        command = [sys.executable, "-m", "perfscope", "attach", str(pid), "--duration", str(length_s), "--depth", depth]
        before = os.times()
        done = subprocess.run([*command, "--json", "--out", str(out)], capture_output=True, text=True, check=True)
        after = os.times()
        sources = {one["name"]: one for one in json.loads(done.stdout)["sources"]}
        stated.append((sources.get("probe") or {}).get("overhead_share") or 0.0)
        cpu.append((after.children_user + after.children_system) - (before.children_user + before.children_system))
        manifest = json.loads((out / "manifest.json").read_text())
        first = manifest["zero_monotonic_ns"] + int(SETTLE_S * 1e9)
        on.append((first, first + int((length_s - SETTLE_S) * 1e9)))
        time.sleep(SETTLE_S)
    return on, off, stated, cpu


def rate(marks: npt.NDArray[np.int64], window: tuple[int, int]) -> float:
    """Steps per second inside a window, from whole steps."""
    inside = marks[(marks >= window[0]) & (marks < window[1])]
    return (len(inside) - 1) / ((inside[-1] - inside[0]) / 1e9)


def interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean ratio with its 95 % bootstrap interval over window pairs."""
    rng = np.random.default_rng(0)
    means = rng.choice(ratios, (5000, len(ratios))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(ratios.mean()), float(low), float(high)


def scene(name: str, depth: str, pairs: int, length_s: float) -> None:
    workers, step_ms, fetch_ms, floor = SCENES[name]
    floor = 0.995 if depth == "observe" else floor
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        target = [sys.executable, str(Path(__file__).with_name("overhead_target.py")), str(folder / "marks")]
        process = subprocess.Popen([*target, str(workers), str(step_ms), str(fetch_ms)])
        try:
            time.sleep(6)
            on, off, stated, _ = windows(process.pid, depth, pairs, length_s, folder)
        finally:
            process.kill()
            process.wait()
        marks = np.array((folder / "marks").read_text().split()[:-1], dtype=np.int64)
    ratios = np.array([rate(marks, yes) / rate(marks, no) for yes, no in zip(on, off, strict=True)])
    mean, low, high = interval(ratios)
    word = "holds" if low >= floor else "missed" if high < floor else "not resolvable here"
    print(
        f"{name:28} {depth:8} ratio {mean:.4f} [{low:.4f} .. {high:.4f}]  floor {floor}: {word};  stated {np.mean(stated):.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--window", type=float, default=6.0, help="seconds")
    args = parser.parse_args()
    for depth in ("probe", "observe"):
        for name in SCENES:
            scene(name, depth, args.pairs, args.window)


if __name__ == "__main__":
    main()
