"""ill: memory-bound. An activation is spelled out in eight operations, each of which reads and writes a large tensor."""

import math

import torch
from torch import nn

from sample_workloads.training import arguments, train

BATCH, WIDTH = 1024, 4096


class Spelled(nn.Module):
    """GELU by its formula, an operation at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


class Gate(nn.Module):
    """A learned scale before an activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.activation(x * self.scale)
        return y


def main() -> None:
    args = arguments(__doc__)
    data = [(torch.randn(BATCH, WIDTH),) for _ in range(4)]
    model = nn.Sequential(*(Gate(nn.GELU(approximate="tanh") if args.fix else Spelled()) for _ in range(2)))
    train(model, data, args, learn=lambda model, batch: model(batch[0]).mean())


if __name__ == "__main__":
    main()
