"""Trials append to one file of results under flock; another one holds the lock mostly."""

import fcntl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FILE = Path(tempfile.gettempdir(), "accuracy-results.csv")
OTHER_TRIAL = """
import fcntl, sys, time
with open(sys.argv[1], "a") as file:
    while True:
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(0.02)
        fcntl.flock(file, fcntl.LOCK_UN)
        time.sleep(0.005)
"""


def append(rows: list[tuple[int, float]]) -> None:
    """Append rows to the file, when nobody else writes."""
    with FILE.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.writelines(f"{step},{loss}\n" for step, loss in rows)


def main() -> None:
    FILE.touch()
    other = subprocess.Popen([sys.executable, "-c", OTHER_TRIAL, str(FILE)])
    network, head = nn.GRU(24, 64, batch_first=True), nn.Linear(64, 1)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()])
    rows: list[tuple[int, float]] = []
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        hidden, _ = network(torch.randn(32, 20, 24))
        loss = head(hidden[:, -1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.append((steps, loss.item()))
        if not FIX or len(rows) == 100:
            append(rows)
            rows.clear()
        steps += 1
    other.kill()
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
