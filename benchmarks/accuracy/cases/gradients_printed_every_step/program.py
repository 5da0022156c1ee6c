"""Output for debugging was left in: every step formats all gradients as text."""

import sys
import time
from pathlib import Path
from typing import TextIO

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
REPORT_EVERY = 200 if FIX else 1


def report(model: nn.Module, output: TextIO) -> None:
    """Print the gradients."""
    for name, parameter in model.named_parameters():
        print(name, parameter.grad, file=output)


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(100, 200), nn.Sigmoid(), nn.Linear(200, 100), nn.Sigmoid()),
        nn.Linear(100, 2),
    )
    optimizer = torch.optim.Adadelta(model.parameters())
    steps, began = 0, time.monotonic()
    with Path("/dev/null").open("w") as output:
        while time.monotonic() - began < SECONDS:
            loss = nn.functional.cross_entropy(
                model(torch.rand(256, 100)), torch.randint(0, 2, (256,))
            )
            optimizer.zero_grad()
            loss.backward()
            if steps % REPORT_EVERY == 0:
                report(model, output)
            optimizer.step()
            steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
