"""A progress line is printed every step to a terminal behind a slow connection."""

import os
import pty
import subprocess
import sys
import time
from typing import TextIO

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
PRINT_EVERY = 50 if FIX else 1
CONNECTION = """
import os, time
while os.read(0, 1024):
    time.sleep(0.1)
"""


def open_terminal() -> TextIO:
    """Return a terminal whose output a child process passes on, 10 kB/s."""
    reader, writer = pty.openpty()
    subprocess.Popen([sys.executable, "-c", CONNECTION], stdin=reader)
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def describe(step: int, loss: float) -> str:
    """Return the progress bar for a step."""
    done = step % 100
    return (
        f"step {step:7} [{'=' * done}{' ' * (100 - done)}] loss {loss:.5f} lr 1.0e-03 eta 2:12:31"
    )


def main() -> None:
    torch.manual_seed(0)
    terminal = open_terminal()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs = torch.randn(256, 64)
        loss = nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if steps % PRINT_EVERY == 0:
            print(describe(steps, loss.item()), file=terminal, flush=True)
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
