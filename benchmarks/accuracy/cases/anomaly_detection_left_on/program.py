"""Anomaly detection of autograd, switched on once to find a NaN, was never switched off."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WIDTH, BLOCKS = 64, 16


class Block(nn.Module):
    """A residual block with a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.value, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        normed = self.norm(hidden)
        gated = self.value(normed) * torch.sigmoid(self.gate(normed))
        return hidden + torch.nn.functional.gelu(gated)


def main() -> None:
    torch.manual_seed(0)
    torch.autograd.set_detect_anomaly(not FIX)
    model = nn.Sequential(*[Block() for _ in range(BLOCKS)], nn.Linear(WIDTH, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs, targets = torch.randn(32, WIDTH), torch.randn(32, 1)
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
