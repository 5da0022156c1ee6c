"""Verdict: pageable-copy. Batches are copied to the device from pageable memory, before each step.

The copy waits for the step before it, and the device waits for the copy.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sample_workloads.device.training_on_device import (
    Prefetcher,
    deep_model,
    pin,
    size_of_copy,
    train_on_device,
    width_of_layers,
)
from sample_workloads.training import Meter, classify, device, parse_arguments

COPY_S = 0.015


def classify_crop(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return the loss for a crop of each large input."""
    inputs, labels = batch
    width = len(labels)
    return classify(model, (inputs[:, :width].contiguous(), labels))


def copied(batches: list[Any]) -> Iterable[Any]:
    """Yield the batches on the device, where each is when it is asked for."""
    for batch in batches:
        yield [part.to(device()) for part in batch]


class CopiedBatches:
    """Batches that are copied when they are asked for, in each epoch."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(copied(self.batches))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    width, size = width_of_layers(), size_of_copy(COPY_S, pinned=False)
    shape = (width, max(width, size // 4 // width))
    batches = [(torch.randn(shape), torch.randint(0, 10, (width,))) for _ in range(4)]
    if args.fix:
        batches = [tuple(pin(part) for part in batch) for batch in batches]
    source = Prefetcher(batches) if args.fix else CopiedBatches(batches)
    train_on_device(deep_model(width), source, Meter(args), learn=classify_crop)


if __name__ == "__main__":
    main()
