"""Each step adds a row to an SQLite file, whose lock another trial holds most of the time."""

import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
REPORT_EVERY = 100 if FIX else 1
FILE = Path(tempfile.gettempdir(), "accuracy-study.sqlite")
OTHER_TRIAL = """
import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
while True:
    base.execute("BEGIN IMMEDIATE")
    base.execute("INSERT INTO trials VALUES (1, 0.5)")
    time.sleep(0.06)
    base.execute("COMMIT")
    time.sleep(0.03)
"""


class Study:
    """The results of all trials, in a file that they share."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.base = sqlite3.connect(path, timeout=60)
        self.base.execute("PRAGMA synchronous=OFF")
        self.base.execute("CREATE TABLE trials (step INTEGER, loss REAL)")
        self.base.commit()

    def report(self, step: int, loss: float) -> None:
        """Add a row, when nobody else writes."""
        self.base.execute("INSERT INTO trials VALUES (?, ?)", (step, loss))
        self.base.commit()


def main() -> None:
    study = Study(FILE)
    other = subprocess.Popen([sys.executable, "-c", OTHER_TRIAL, str(FILE)])
    model = nn.Sequential(nn.Linear(100, 300), nn.ELU(), nn.Linear(300, 300), nn.Linear(300, 1))
    optimizer = torch.optim.Adamax(model.parameters())
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        batch = torch.randn(256, 100)
        loss = (model(batch).squeeze() - batch.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if steps % REPORT_EVERY == 0:
            study.report(steps, loss.item())
        steps += 1
    other.kill()
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
