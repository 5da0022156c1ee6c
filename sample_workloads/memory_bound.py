"""ill: memory-bound. An activation is spelled out in eight operations, each of which reads and
writes a large tensor.
"""

import math

import torch
from torch import nn

from sample_workloads.training import arguments, train

BATCH, NARROW, WIDE = 1024, 32, 8192


class Spelled(nn.Module):
    """GELU by its formula, an operation at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def main() -> None:
    args = arguments(__doc__)
    data = [(torch.randn(BATCH, NARROW), torch.randint(0, 10, (BATCH,))) for _ in range(8)]
    activation: nn.Module = nn.GELU(approximate="tanh") if args.fix else Spelled()
    train(nn.Sequential(nn.Linear(NARROW, WIDE), activation, nn.Linear(WIDE, 10)), data, args)


if __name__ == "__main__":
    main()
