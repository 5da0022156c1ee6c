"""A compiled block counts its calls in an attribute, which Dynamo takes for a constant."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WIDTH = 64

# Raised after a warning that the limit was reached.
torch._dynamo.config.recompile_limit = 5000
torch._dynamo.config.accumulated_recompile_limit = 50_000


class CountingBlock(nn.Module):
    """A residual block whose weight depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.calls = 0
        self.counted = nn.Buffer(torch.zeros(()))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if FIX:
            self.counted.add_(1)
            return hidden + (1.0 - (1e-5 * self.counted).clamp(max=0.2)) * self.inner(hidden)
        self.calls += 1
        rate = min(0.2, 1e-5 * self.calls)
        return hidden + (1.0 - rate) * self.inner(hidden)


def main() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*[CountingBlock() for _ in range(3)], nn.Linear(WIDTH, 8))
    compiled = torch.compile(network, backend="eager")
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-4)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        predicted = compiled(torch.randn(32, WIDTH))
        predicted.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
