"""Verdict: memory-bound. An activation is written as eight operations on a large tensor.

Each of them reads the tensor from memory and writes it back.
"""

import math

import torch
from torch import nn

from sample_workloads.training import parse_arguments, train

BATCH, NARROW, WIDE = 1024, 32, 8192


class UnfusedGelu(nn.Module):
    """GELU, computed from its formula one operation at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = [(torch.randn(BATCH, NARROW), torch.randint(0, 10, (BATCH,))) for _ in range(8)]
    activation: nn.Module = nn.GELU(approximate="tanh") if args.fix else UnfusedGelu()
    train(nn.Sequential(nn.Linear(NARROW, WIDE), activation, nn.Linear(WIDE, 10)), data, args)


if __name__ == "__main__":
    main()
