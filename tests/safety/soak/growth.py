"""The memory of a program over many attaches, and that of a second program without attaches."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.safety.soak.cycle import ROOT, Outcome, read_recording
from tests.safety.soak.results import interval
from tests.safety.soak.targets import RunningProgram, TargetEnded, environment, start

PROGRAM = "rl"
DURATION_S = 0.5
WARM_UP = 20
"""Attaches left out: the first one loads modules that remain loaded."""
FEWEST = 20
MOST_BYTES = 2048.0
BLOCK = 20
KINDS = ("resident", "blocks", "objects")


def measure_growth(python: Path, results: Path, count: int) -> int:
    """Attach `count` times and print the slope per attach with its interval.

    Returns 1 if the whole interval is above MOST_BYTES. Ctrl-C ends the measurement early, with a
    report.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=results.parent, prefix="growth-") as name:
        folder = Path(name)
        attached = start(python, PROGRAM, folder / "attached", results.parent)
        alone = start(python, PROGRAM, folder / "alone", results.parent)
        try:
            with open(results, "w") as file:
                for number in range(count):
                    entered = attach(attached, folder / "run", results.parent)
                    row = {
                        "entered": entered,
                        "attached": attached.state()["memory"],
                        "alone": alone.state()["memory"],
                    }
                    rows.append(row)
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    print(f"\r{number + 1} of {count}", end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pass
        except TargetEnded as reason:
            print(
                f"\nHARMED after {len(rows)} attaches: target {reason}: {attached.errors()[-500:]}"
            )
            return 1
        finally:
            attached.end()
            alone.end()
    print(file=sys.stderr)
    return report(rows)


def attach(run: RunningProgram, folder: Path, shared: Path) -> bool:
    """Attach once for a short time; return whether the process was entered."""
    command = [
        sys.executable,
        "-m",
        "perfscope",
        "attach",
        str(run.pid),
        "--duration",
        str(DURATION_S),
        "--json",
    ]
    env = environment(run.folder, shared)
    subprocess.run([*command, "--out", str(folder)], cwd=ROOT, env=env, capture_output=True)
    run.wait_for_steps(3)
    outcome = Outcome(0, run.program, 0)
    read_recording(folder, outcome)
    shutil.rmtree(folder, ignore_errors=True)
    return bool(outcome.stopped_ms)


def report(rows: list[dict[str, Any]]) -> int:
    """Print the slopes, and return the exit code."""
    print(
        f"{len(rows)} attaches of {DURATION_S} s, {sum(row['entered'] for row in rows)} entered the"
        " process"
    )
    if len(rows) < WARM_UP + FEWEST:
        print(f"too few: {WARM_UP + FEWEST} are needed for a slope")
        return 1
    code = 0
    for who in ("attached", "alone"):
        for kind in KINDS:
            slope, low, high = slope_interval([row[who][kind] for row in rows][WARM_UP:])
            unit = "bytes of resident memory" if kind == "resident" else kind
            print(f"{who}: {slope:.1f} {unit} per attach ({low:.1f} .. {high:.1f})")
            if who == "attached" and kind == "resident":
                code = int(low > MOST_BYTES)
                result = "MORE THAN" if code else "not resolved:"
                if high <= MOST_BYTES:
                    result = "at most"
                print(f"  {result} {MOST_BYTES:.0f}")
    return code


def slope_interval(values: list[int]) -> tuple[float, float, float]:
    """Return (slope, low, high) per attach: the least-squares line, and its 95 % interval by a
    block bootstrap of the residuals.
    """
    at = np.arange(len(values), dtype=float)
    slope, offset = np.polyfit(at, values, 1)
    residuals = np.asarray(values, dtype=float) - (slope * at + offset)

    def refitted(drawn: np.ndarray) -> float:
        length = min(len(drawn), len(at))
        return float(np.polyfit(at[:length], (slope * at + offset)[:length] + drawn[:length], 1)[0])

    _, low, high = interval(residuals.tolist(), refitted, BLOCK)
    return float(slope), low, high
