"""100,000 connections and a million random frames from another user while a training is recorded.

`python -m tests.safety.long_flood` prints what was sent, what the agent's memory grew by, and the
longest gap between two rounds of the recorder's loop, which sends the heartbeats. It ends with an
error when the recording lost anything, the memory grew by 10 MB or a round was late by a second.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests.safety.other_user import FLOOD, addresses_of, resident_bytes, run_as_nobody
from tests.target_processes import end, perfscope, source_statuses, start, until

MB = 1 << 20
LATE_S = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="the flood ends after this in any case"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = start("looping.py", folder, "--workers", "2")
        try:
            return flooded(run.pid, folder, args)
        finally:
            end(run)


def flooded(pid: int, folder: Path, args: argparse.Namespace) -> int:
    """Record process `pid` during the flood; return the exit code."""
    command = perfscope(
        "attach",
        str(pid),
        "--depth",
        "probe",
        "--duration",
        "600",
        "--json",
        "--out",
        folder / "run",
    )
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = addresses_of(agent.pid)[0]
    until(lambda: '"depth": "probe"' in (folder / "run" / "manifest.json").read_text())
    time.sleep(3.0)
    before = most = resident_bytes(agent.pid)
    flood = run_as_nobody(
        FLOOD, address, str(args.connections), str(args.frames), str(args.seconds)
    )
    began = time.monotonic()
    while flood.poll() is None:
        most = max(most, resident_bytes(agent.pid))
        time.sleep(0.1)
    took_s = time.monotonic() - began
    made, sent = map(int, flood.communicate()[0].split())
    agent.terminate()
    out, err = agent.communicate(timeout=120)
    answer = json.loads(out)
    late_s = longest_gap_s(folder / "run")
    print(f"{made} connections, {sent} frames in {took_s:.0f} s")
    print(f"agent's memory: {before / MB:.1f} MB before, at most {most / MB:.1f} MB")
    print(f"longest gap between two rounds: {late_s:.2f} s; steps: {answer['steps']['count']}")
    status = source_statuses(answer)["probe"]
    print(f"probe: {status}; dropped: {answer['dropped']}; {err.splitlines()[-1:]}")
    kept = status == "ok" and answer["dropped"] == []
    return 0 if kept and most - before < 10 * MB and late_s < LATE_S else 1


def longest_gap_s(run: Path) -> float:
    """Return the longest time between two samples of the target's main thread, which are due every
    50 ms.
    """
    files = sorted((run / "streams" / "host.states@0").iterdir())
    times_ns = [json.loads(line)["ts"] for file in files for line in file.read_text().splitlines()]
    return max(b - a for a, b in pairwise(times_ns)) / 1e9


if __name__ == "__main__":
    sys.exit(main())
