"""Verdict: compute-bound. An integer matrix multiplication, for which there is no fast kernel.

It counts which items occur together in a basket.
"""

import torch
from torch import nn

from sample_workloads.training import make_layers, parse_arguments, train

BASKETS, ITEMS, CLASSES = 256, 1024, 10


class CountingClassifier(nn.Module):
    """A classifier of baskets that also counts which items occur together."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.classifier = make_layers(ITEMS, 1, CLASSES)
        self.register_buffer("together", torch.zeros(ITEMS, ITEMS, dtype=kind))
        self.kind = kind

    def forward(self, baskets: torch.Tensor) -> torch.Tensor:
        counts = baskets.to(self.kind)
        self.together += counts.T @ counts
        scores: torch.Tensor = self.classifier(baskets)
        return scores


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    # Counts below 2^24 are exact in float32.
    kind = torch.float32 if args.fix else torch.int64
    data = [
        ((torch.rand(BASKETS, ITEMS) < 0.02).float(), torch.randint(0, CLASSES, (BASKETS,)))
        for _ in range(8)
    ]
    train(CountingClassifier(kind), data, args)


if __name__ == "__main__":
    main()
