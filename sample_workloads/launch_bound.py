"""ill: launch-bound. Many small experts run one after the other: an operator is over before the
next is called.
"""

import torch
from torch import nn

from sample_workloads.training import arguments, train

EXPERTS, WIDTH, BATCH = 256, 32, 64


class OneByOne(nn.Module):
    """A layer for each expert, and a loop over them."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [torch.relu(expert(part)) for expert, part in zip(self.experts, x, strict=True)]
        )


class AtOnce(nn.Module):
    """All of them as one batched product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH) / WIDTH**0.5)
        self.bias = nn.Parameter(torch.zeros(EXPERTS, 1, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.baddbmm(self.bias, x, self.weight))


def main() -> None:
    args = arguments(__doc__)
    data = [(torch.randn(EXPERTS, BATCH, WIDTH),) for _ in range(16)]
    model: nn.Module = AtOnce() if args.fix else OneByOne()
    train(model, data, args, learn=lambda model, batch: model(batch[0]).square().mean())


if __name__ == "__main__":
    main()
