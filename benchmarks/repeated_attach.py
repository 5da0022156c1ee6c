"""Attaches to one run many times: `python -m benchmarks.repeated_attach [COUNT]`.

It prints how long each attach stopped the main thread, whether the losses equal those of an
unattached run, and what changed in the target: patched functions, file descriptors, threads,
modules, memory.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.target_processes import Run, end, perfscope, start

DURATION_S = 0.5


def rss_kb(pid: int) -> int:
    """Return the resident memory of one process, in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def stop_ms(folder: Path) -> list[float]:
    """Return how long the entry stopped the main thread of the training process."""
    rows = [
        json.loads(line)
        for path in folder.glob("streams/agent.events@host/*")
        for line in path.read_text().splitlines()
    ]
    return [row["stopped_ns"] / 1e6 for row in rows if row["event"] == "entered"][:1]


def attach(run: Run, folder: Path) -> list[float]:
    """Attach once; return how long that stopped the main thread, in ms."""
    command = perfscope(
        "attach", str(run.pid), "--duration", str(DURATION_S), "--json", "--out", folder
    )
    subprocess.run(command, capture_output=True, check=True)
    return stop_ms(folder)


def main() -> None:
    """Attach many times and print the results."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "attached").mkdir()
        run = start("looping.py", folder / "attached")
        try:
            before, memory = run.state(), rss_kb(run.pid)
            stops: list[float] = []
            for number in range(count):
                stops += attach(run, folder / f"run{number}")
                print(f"\r{number + 1} of {count}", end="", file=sys.stderr, flush=True)
            after, grown = run.state(), rss_kb(run.pid) - memory
        finally:
            end(run)
        losses = [line[0] for line in run.lines()]
        (folder / "alone").mkdir()
        alone = start("looping.py", folder / "alone", "--steps", str(len(losses)))
        alone.process.wait()
        same = losses == [line[0] for line in alone.lines()]
    print(
        f"\n{count} attaches, {len(stops)} entered, {len(losses)} steps; losses bit-identical:"
        f" {same}"
    )
    print(
        f"main thread stopped: p50 {np.median(stops):.2f} ms, p99 {np.percentile(stops, 99):.2f}"
        f" ms, max {max(stops):.2f} ms"
    )
    changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    print(f"changed in the target: {changed or 'nothing'}; resident memory {grown:+d} kB")


if __name__ == "__main__":
    main()
