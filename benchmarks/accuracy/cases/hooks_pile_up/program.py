"""A forward hook that records statistics is registered in every step and never removed."""

import sys
import time
from collections import deque
from typing import Any

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv


class ActivationStatistics:
    """The mean and deviation of the activations of one layer."""

    def __init__(self) -> None:
        self.history: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=100)

    def record(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        """Add the statistics of an output."""
        self.history.append((output.detach().mean(), output.detach().std()))


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    statistics = ActivationStatistics()
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        handle = model[2].register_forward_hook(statistics.record)
        inputs, labels = torch.randn(128, 64), torch.randint(0, 10, (128,))
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if FIX:
            handle.remove()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
