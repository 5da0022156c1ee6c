"""ill: compute-bound. Which items occur together is counted by a product of whole numbers, for
which there is no fast code.
"""

import torch
from torch import nn

from sample_workloads.training import arguments, layers, train

BASKETS, ITEMS, CLASSES = 256, 1024, 10


class Counting(nn.Module):
    """A classifier of baskets that counts beside it which items occur together."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.classifier = layers(ITEMS, 1, CLASSES)
        self.register_buffer("together", torch.zeros(ITEMS, ITEMS, dtype=kind))
        self.kind = kind

    def forward(self, baskets: torch.Tensor) -> torch.Tensor:
        held = baskets.to(self.kind)
        self.together += held.T @ held
        found: torch.Tensor = self.classifier(baskets)
        return found


def main() -> None:
    args = arguments(__doc__)
    kind = torch.float32 if args.fix else torch.int64  # counts below 2^24 are exact in float32
    data = [
        ((torch.rand(BASKETS, ITEMS) < 0.02).float(), torch.randint(0, CLASSES, (BASKETS,)))
        for _ in range(8)
    ]
    train(Counting(kind), data, args)


if __name__ == "__main__":
    main()
