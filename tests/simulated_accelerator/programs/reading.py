"""Trains for ever on the device, and reads the loss of each step in one of the ways that are named,
in turn: `item`, `float`, `int`, `bool`, `mask`. Prints a line after each step.

Each step takes 20 ms on the device; after it the host computes for 20 ms.
"""

import itertools
import sys
import time
from collections.abc import Callable

import torch

WIDTH, HOST_S = 16, 0.02
READS: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda loss: loss.item(),
    "float": float,
    "int": int,
    "bool": bool,
    "mask": lambda loss: loss.reshape(1)[loss.reshape(1) > 0],
}


def compute(seconds: float) -> None:
    """Compute in Python for this long."""
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += sum(map(int, str(number)))


def main() -> None:
    """Train and read."""
    reads = itertools.cycle(READS[name] for name in sys.argv[1:])
    model = torch.nn.Linear(WIDTH, WIDTH).to("sim")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = torch.randn(WIDTH, WIDTH, device="sim")
    while True:
        optimizer.zero_grad()
        loss = model(data).square().mean()
        loss.backward()
        optimizer.step()
        next(reads)(loss.detach())
        compute(HOST_S)
        print("step", flush=True)


if __name__ == "__main__":
    main()
