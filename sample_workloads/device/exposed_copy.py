"""Verdict: exposed-copy. Batches are copied on the stream of the computation, just before it.

The memory is pinned and the host does not wait, but the device does.
"""

from typing import Any

import torch

from sample_workloads.device.pageable_copy import classify_crop
from sample_workloads.device.training_on_device import (
    Prefetcher,
    deep_model,
    pin,
    size_of_copy,
    train_on_device,
    width_of_layers,
)
from sample_workloads.training import Meter, device, parse_arguments

COPY_S = 0.015


class LateBatches:
    """Pinned batches that are copied when they are asked for, without waiting."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        for batch in self.batches:
            yield [part.to(device(), non_blocking=True) for part in batch]


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    width, size = width_of_layers(), size_of_copy(COPY_S, pinned=True)
    shape = (width, max(width, size // 4 // width))
    batches = [(pin(torch.randn(shape)), pin(torch.randint(0, 10, (width,)))) for _ in range(4)]
    source = Prefetcher(batches) if args.fix else LateBatches(batches)
    train_on_device(deep_model(width), source, Meter(args), learn=classify_crop)


if __name__ == "__main__":
    main()
