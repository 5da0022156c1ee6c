"""Verdict: reduced-precision-unused. Products of float64 keep the device busy near its peak."""

import torch

from sample_workloads.device.training_on_device import deep_model, train_on_device, width_of_layers
from sample_workloads.training import Meter, device, parse_arguments


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    kind = torch.float32 if args.fix else torch.float64
    width = width_of_layers(torch.float64)
    labels = torch.randint(0, 10, (width,), device=device())
    data = [(torch.randn(width, width, device=device(), dtype=kind), labels) for _ in range(4)]
    train_on_device(deep_model(width, kind), data, Meter(args))


if __name__ == "__main__":
    main()
