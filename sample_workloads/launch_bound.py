"""Verdict: launch-bound. 256 small experts run one after the other.

Each kernel ends before the next one is launched.
"""

import torch
from torch import nn

from sample_workloads.training import parse_arguments, train

EXPERTS, WIDTH, BATCH = 256, 32, 64


class SequentialExperts(nn.Module):
    """One layer per expert, run in a loop."""

    def __init__(self, experts: int, width: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [torch.relu(expert(part)) for expert, part in zip(self.experts, x, strict=True)]
        )


class BatchedExperts(nn.Module):
    """All experts as one batched matrix multiplication."""

    def __init__(self, experts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, width, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(experts, 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.baddbmm(self.bias, x, self.weight))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = [(torch.randn(EXPERTS, BATCH, WIDTH),) for _ in range(16)]
    chosen = BatchedExperts if args.fix else SequentialExperts
    model: nn.Module = chosen(EXPERTS, WIDTH)
    train(model, data, args, learn=lambda model, batch: model(batch[0]).square().mean())


if __name__ == "__main__":
    main()
