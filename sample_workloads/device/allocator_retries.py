"""Verdict: allocator-retries. Batches of many sizes do not fit next to what is cached for others.

The allocator frees its cache, which waits for the device, and asks the driver for memory again.
"""

from collections.abc import Iterator

import torch

from sample_workloads.device.training_on_device import deep_model, train_on_device, width_of_layers
from sample_workloads.training import Meter, device, parse_arguments

SIZES = (4, 7, 5, 8, 6)
BUCKET = 10
LAYERS = 4
KEPT = 3
"""Activations of the largest size that fit into the memory that is left."""


class BatchesOfManySizes:
    """Batches of different lengths; in buckets, many of the same length follow each other."""

    def __init__(self, width: int, *, in_buckets: bool) -> None:
        self.width = width
        self.sizes = [size for size in SIZES for _ in range(BUCKET if in_buckets else 1)]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for size in self.sizes:
            rows = size * self.width // 8
            labels = torch.zeros(rows, dtype=torch.long, device=device())
            yield torch.ones(rows, self.width, device=device()), labels


def fill_memory(bytes_left: int) -> torch.Tensor | None:
    """Return a tensor that takes all memory of the device but this much; None without a device."""
    if device().type == "cpu":
        return None
    free, _ = torch.accelerator.get_memory_info()
    return torch.empty(max(0, free - bytes_left), dtype=torch.uint8, device=device())


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    width = width_of_layers()
    model = deep_model(width)
    activation = 4 * width * width
    filling = fill_memory(activation * (3 * LAYERS + KEPT))
    train_on_device(model, BatchesOfManySizes(width, in_buckets=args.fix), Meter(args))
    del filling


if __name__ == "__main__":
    main()
