"""Verdict: healthy. Pinned batches are copied one ahead, and the device computes all the time."""

import torch

from sample_workloads.device.training_on_device import (
    Prefetcher,
    deep_model,
    pin,
    train_on_device,
    width_of_layers,
)
from sample_workloads.training import Meter, parse_arguments


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    width = width_of_layers()
    batches = [
        (pin(torch.randn(width, width)), pin(torch.randint(0, 10, (width,)))) for _ in range(8)
    ]
    train_on_device(deep_model(width), Prefetcher(batches), Meter(args))


if __name__ == "__main__":
    main()
