"""Verdict: memory-bound. An activation is written as eight operations on a large tensor.

Each of them reads the tensor from the memory of the device and writes it back.
"""

import torch
from torch import nn

from sample_workloads.device.training_on_device import seconds_on_device, train_on_device
from sample_workloads.memory_bound import UnfusedGelu
from sample_workloads.training import Meter, device, parse_arguments

NARROW, WIDE = 16, 1024
OPERATION_S = 0.001
SMALLEST_BATCH, LARGEST_BATCH = 64, 1 << 18


def batch_of_operation() -> int:
    """Return the batch, a power of two, for which an operation on the activation takes long."""
    batch = SMALLEST_BATCH
    while batch < LARGEST_BATCH:
        tensor = torch.ones(batch, WIDE, device=device())
        if seconds_on_device(lambda tensor=tensor: tensor * 2.0) >= OPERATION_S:
            break
        batch *= 2
    return batch


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    batch = batch_of_operation()
    labels = torch.randint(0, 10, (batch,), device=device())
    data = [(torch.randn(batch, NARROW, device=device()), labels) for _ in range(4)]
    activation: nn.Module = nn.GELU(approximate="tanh") if args.fix else UnfusedGelu()
    model = nn.Sequential(nn.Linear(NARROW, WIDE), activation, nn.Linear(WIDE, 10))
    train_on_device(model.to(device()), data, Meter(args))


if __name__ == "__main__":
    main()
