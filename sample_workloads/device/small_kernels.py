"""Verdict: launch-bound. A hundred small experts run one after the other on the device.

Each kernel ends before the next one is launched.
"""

import torch
from torch import nn

from sample_workloads.device.prefetch import train_on_device
from sample_workloads.training import Meter, device, parse_arguments

EXPERTS, WIDTH, BATCH = 100, 8, 8


class ExpertsInTurn(nn.Module):
    """One layer per expert, run in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [torch.relu(expert(part)) for expert, part in zip(self.experts, x, strict=True)]
        )


class ExpertsAtOnce(nn.Module):
    """All experts as one batched matrix multiplication."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH) / WIDTH**0.5)
        self.bias = nn.Parameter(torch.zeros(EXPERTS, 1, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.baddbmm(self.bias, x, self.weight))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = [(torch.randn(EXPERTS, BATCH, WIDTH, device=device()),) for _ in range(16)]
    model: nn.Module = ExpertsAtOnce() if args.fix else ExpertsInTurn()
    train_on_device(
        model.to(device()),
        data,
        Meter(args),
        learn=lambda model, batch: model(batch[0]).square().mean(),
    )


if __name__ == "__main__":
    main()
