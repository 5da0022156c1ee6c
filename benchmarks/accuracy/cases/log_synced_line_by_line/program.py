"""A log handler calls fsync after each line, and each step logs four lines."""

import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FILE = Path(tempfile.gettempdir(), "accuracy-durable.log")
METRICS = ("loss", "rate", "norm", "time")


class DurableHandler(logging.FileHandler):
    """A handler that loses no line when the machine stops."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.stream is not None and not FIX:
            os.fsync(self.stream.fileno())


def main() -> None:
    log = logging.getLogger("train")
    log.setLevel(logging.INFO)
    log.addHandler(DurableHandler(FILE, mode="w"))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters())
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        optimizer.zero_grad()
        loss = model(torch.randn(128, 64)).square().mean()
        loss.backward()
        optimizer.step()
        for name in METRICS:
            log.info("step %d %s %.4f", steps, name, loss.item())
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
