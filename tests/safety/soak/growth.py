"""Memory of one program over many attaches, beside that of a second one that nobody attaches to."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.safety.soak.cycle import ROOT
from tests.safety.soak.results import interval
from tests.safety.soak.targets import Started, environment, start

DURATION_S = 0.5
WARM_UP = 20
"""Attaches left out: the first one loads what stays loaded."""
MOST_BYTES = 2048.0
BLOCK = 20
KINDS = ("resident", "blocks", "objects")


def measure_growth(python: Path, results: Path, count: int) -> int:
    """Attach `count` times, print the slope per attach with its interval; 1 when it is surely above MOST_BYTES."""
    with tempfile.TemporaryDirectory(dir=results.parent, prefix="growth-") as name:
        folder = Path(name)
        attached = start(python, "plain", folder / "attached", results.parent)
        alone = start(python, "plain", folder / "alone", results.parent)
        try:
            with open(results, "w") as file:
                for number in range(count):
                    attach(attached, folder / f"run{number}", results.parent)
                    row = {"attached": attached.state()["memory"], "alone": alone.state()["memory"]}
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    print(f"\r{number + 1} of {count}", end="", file=sys.stderr, flush=True)
        finally:
            attached.end()
            alone.end()
    print(file=sys.stderr)
    return report([json.loads(line) for line in results.read_text().splitlines()])


def attach(run: Started, folder: Path, shared: Path) -> None:
    """One short attach with everything that belongs to it, a window included where one is allowed."""
    command = [sys.executable, "-m", "perfscope", "attach", str(run.pid), "--duration", str(DURATION_S), "--json"]
    env = environment(run.folder, shared)
    subprocess.run([*command, "--out", str(folder)], cwd=ROOT, env=env, capture_output=True, check=True)
    run.until(lambda: True, 1.0)


def report(rows: list[dict[str, dict[str, int]]]) -> int:
    """Print the slopes; the exit code."""
    code = 0
    for who in ("attached", "alone"):
        for kind in KINDS:
            values = [row[who][kind] for row in rows][WARM_UP:]
            slope, low, high = slope_interval(values)
            unit = "bytes of resident memory" if kind == "resident" else kind
            print(f"{who}: {slope:.1f} {unit} per attach ({low:.1f} .. {high:.1f}), {len(values)} attaches")
            if who == "attached" and kind == "resident" and low > MOST_BYTES:
                code = 1
    return code


def slope_interval(values: list[int]) -> tuple[float, float, float]:
    """(slope, low, high) per attach: the line of least squares, 95 % by a block bootstrap of its residuals."""
    at = np.arange(len(values), dtype=float)
    slope, offset = np.polyfit(at, values, 1)
    residuals = np.asarray(values, dtype=float) - (slope * at + offset)

    def refitted(drawn: np.ndarray) -> float:
        length = min(len(drawn), len(at))
        return float(np.polyfit(at[:length], (slope * at + offset)[:length] + drawn[:length], 1)[0])

    _, low, high = interval(residuals.tolist(), refitted, BLOCK)
    return float(slope), low, high
