"""Measures what windows of torch's profiler do to a running program.

`hundred` takes a hundred windows in a row, `end` measures the end of a large window, and `inside`
the cost of steps inside one.

Usage: `python -m benchmarks.kernel_windows [hundred] [end] [inside]` (about six minutes for all).
Prints figures and ratios.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.other_load import Others

Times = npt.NDArray[np.int64]
TARGET = Path(__file__).with_name("windowed_target.py")
WARM_STEPS = 500
BY_HAND_STEPS = 100
FREE_STALL_MS = 125
"""Enough for 50,000 events."""
GIL_STALL_MS = 250
PASSES = 3
HUNDRED_WITHIN_S = 600
BYTES_PER_EVENT = 400


class WindowedTarget:
    """The program that is profiled."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out = folder / f"steps-{time.monotonic_ns()}"
        self.errors = folder / "stderr"
        with self.errors.open("w") as errors:
            command = [sys.executable, str(TARGET), str(self.out), *arguments]
            self.process = subprocess.Popen(command, stderr=errors, start_new_session=True)
        while len(self.ends()) < WARM_STEPS:
            time.sleep(0.1)

    def ends(self) -> Times:
        """Return when each step ended, in ns."""
        text = self.out.read_text() if self.out.exists() else ""
        return np.array([int(line.split()[0]) for line in text.split("\n")[:-1]], np.int64)

    def resident_mb(self) -> float:
        """Return the resident memory of the program, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def counts(self) -> tuple[int, int]:
        """Return the number of threads and open files."""
        folder = f"/proc/{self.process.pid}"
        return len(os.listdir(f"{folder}/task")), len(os.listdir(f"{folder}/fd"))

    def end(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.wait()


@contextmanager
def start_target(*arguments: str) -> Iterator[tuple[WindowedTarget, Path]]:
    """Start the program; yield it and a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        running = WindowedTarget(Path(folder), *arguments)
        try:
            yield running, Path(folder)
        finally:
            running.end()


def start_attach(pid: int, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start perfscope and attach it to the program."""
    command = [
        sys.executable,
        "-m",
        "perfscope",
        "attach",
        str(pid),
        "--json",
        "--out",
        str(out),
        *options,
    ]
    return subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def window_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of all windows in a run folder."""
    lines = [
        line
        for path in sorted(out.glob("streams/kernels@*/*"))
        for line in path.read_text().split("\n")[:-1]
    ]
    return [row for row in map(json.loads, lines) if "begin" in row]


def final_windows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of windows without the trials of older versions."""
    return [row for row in window_rows(out) if "trial" not in row]


def step_ms(ends: Times) -> float:
    """Return the median step."""
    return float(np.median(np.diff(ends))) / 1e6


def measure_hundred() -> None:
    """Take a hundred windows of one process in one recording, and print what changed."""
    with start_target() as (run, folder):
        usual_ms, others = step_ms(run.ends()[:WARM_STEPS]), Others(run.process.pid)
        agent = start_attach(
            run.process.pid, folder / "run", "--steered", "--follow", "--every", "0.1"
        )
        until = time.monotonic() + HUNDRED_WITHIN_S
        while not final_windows(folder / "run") and time.monotonic() < until:
            time.sleep(0.1)
        # What torch's profiler keeps from its first use is not due to the hundred windows.
        before, counts = run.resident_mb(), run.counts()
        while len(final_windows(folder / "run")) < 100 and time.monotonic() < until:
            time.sleep(1)
        agent.send_signal(signal.SIGINT)
        agent.communicate()
        time.sleep(1)
        taken, began = final_windows(folder / "run"), len(run.ends())
        time.sleep(3)
        after_ms = step_ms(run.ends()[began:])
        stalls = [row["stall"] / 1e6 for row in taken if row["stall"] is not None]
        print(
            f"{len(taken)} windows: resident {before:.0f} -> {run.resident_mb():.0f} MB"
            f" ({run.resident_mb() / before:.3f}),"
        )
        print(
            f"  (threads, files) {counts} -> {run.counts()}, stderr {run.errors.stat().st_size}"
            " bytes,"
        )
        print(
            f"  step {usual_ms:.2f} ms before, {after_ms:.2f} ms after ({after_ms / usual_ms:.3f});"
        )
        print(
            f"  ending one delayed a step by {np.median(stalls):.1f} ms (median), {max(stalls):.1f}"
            " ms at most;"
        )
        print(f"  others used {others.cores():.2f} cores")


def measure_end(stall_ms: int, *arguments: str) -> None:
    """Print the longest step while large windows are ended, and an ordinary one inside them."""
    for _ in range(PASSES):
        with start_target(*arguments) as (run, folder):
            others = Others(run.process.pid)
            window = ("--window", "seconds=3", "--window-stall", str(stall_ms))
            agent = start_attach(run.process.pid, folder / "run", "--duration", "8", *window)
            agent.communicate()
            row, ends = window_rows(folder / "run")[-1], run.ends()
            inside = np.diff(ends[(ends >= row["begin"]) & (ends <= row["end"])]) / 1e6
            touched = (ends[1:] > row["end"]) & (ends[:-1] < row["last"])
            longest = (np.diff(ends)[touched]).max() / 1e6
            before = (
                np.diff(ends[ends < window_rows(folder / "run")[0]["first"]])[
                    -int(touched.sum()) :
                ].max()
                / 1e6
            )
            usual, way = (
                float(np.median(inside)),
                "with the GIL" if row["gil"] else "without the GIL",
            )
            held = (row["last"] - row["end"]) / 1e6
            print(
                f"{row['bytes'] / BYTES_PER_EVENT:.0f} events, ended {way} in {held:.0f} ms:"
                f" longest step {longest:.1f} ms,"
            )
            print(f"  an ordinary one inside {usual:.2f} ms (ratio {longest / usual:.1f});")
            print(
                f"  the longest of as many before {before:.1f} ms; others used {others.cores():.2f}"
                " cores",
                flush=True,
            )


def measure_inside() -> None:
    """Compare steps in a window with steps under torch.profiler used by hand.

    Each is relative to the usual step of the same program.
    """
    for _ in range(PASSES):
        with start_target("--by-hand", str(BY_HAND_STEPS)) as (run, _folder):
            others = Others(run.process.pid)
            begin, last = map(
                int, run.out.with_name(run.out.name + ".profiled").read_text().split()
            )
            ends = run.ends()
            by_hand = step_ms(ends[(ends >= begin) & (ends <= last)])
            usual = step_ms(ends[:250])
        with start_target() as (run, folder):
            start_attach(
                run.process.pid,
                folder / "run",
                "--duration",
                "5",
                "--window",
                f"steps={BY_HAND_STEPS}",
            ).communicate()
            row, ends = window_rows(folder / "run")[-1], run.ends()
            in_window = step_ms(ends[(ends >= row["begin"]) & (ends <= row["end"])])
            usual_in_window = step_ms(ends[:250])
        ratio = (in_window / usual_in_window) / (by_hand / usual)
        print(
            f"a step inside: perfscope {in_window:.2f} of {usual_in_window:.2f} ms,"
            f" by hand {by_hand:.2f} of {usual:.2f} ms, ratio {ratio:.2f};"
        )
        print(f"  others used {others.cores():.2f} cores", flush=True)


def main() -> None:
    """Run the requested scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "scenes", nargs="*", choices=("hundred", "end", "inside", []), metavar="hundred|end|inside"
    )
    scenes = parser.parse_args().scenes or ["hundred", "end", "inside"]
    if "end" in scenes:
        measure_end(FREE_STALL_MS)
        measure_end(GIL_STALL_MS, "--stripped")
    if "inside" in scenes:
        measure_inside()
    if "hundred" in scenes:
        measure_hundred()


if __name__ == "__main__":
    main()
