"""Healthy: one step accumulates the gradients of many large micro-batches and takes 30 s."""

import sys
import time

import torch
from torch import nn

SECONDS = float(sys.argv[1])
WIDTH, BATCH, ACCUMULATE = 1024, 1024, 200


def make_model() -> nn.Module:
    """Return a network of large matrices."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def main() -> None:
    torch.manual_seed(0)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    data = torch.randn(8 * BATCH, WIDTH)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for _ in range(ACCUMULATE):
            chosen = torch.randint(0, len(data), (BATCH,))
            loss = nn.functional.cross_entropy(model(data[chosen]), chosen % 10)
            (loss / ACCUMULATE).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
