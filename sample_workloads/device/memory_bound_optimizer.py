"""Verdict: memory-bound. AdamW updates many parameters for each small batch, in separate passes."""

import torch
from torch import nn

from sample_workloads.device.training_on_device import seconds_on_device, train_on_device
from sample_workloads.training import Meter, device, parse_arguments

BATCH, WIDTH, MATRICES = 8, 128, 2
PASS_S = 0.001
LARGEST_WIDTH = 1 << 14


def width_of_pass() -> int:
    """Return the width, a power of two, whose square matrices take long to read and write."""
    width = WIDTH
    while width < LARGEST_WIDTH:
        matrix = torch.ones(width, width, device=device())
        if seconds_on_device(lambda matrix=matrix: matrix.mul_(1.0)) >= PASS_S:
            break
        width *= 2
    return width


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    width = width_of_pass()
    layers = [nn.Linear(width, width, bias=False) for _ in range(MATRICES)]
    model = nn.Sequential(*layers, nn.Linear(width, 10)).to(device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=bool(args.fix))
    labels = torch.randint(0, 10, (BATCH,), device=device())
    data = [(torch.randn(BATCH, width, device=device()), labels) for _ in range(4)]
    train_on_device(model, data, Meter(args), optimizer=optimizer)


if __name__ == "__main__":
    main()
