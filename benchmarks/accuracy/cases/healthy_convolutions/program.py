"""Healthy: a residual network on images in memory; nearly all time is spent in convolutions."""

import sys
import time

import torch
from torch import nn

SECONDS = float(sys.argv[1])
CHANNELS, BLOCKS, BATCH, SIDE = 64, 2, 16, 32


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.second(torch.relu(self.first(images)))


def main() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1),
        *[ResidualBlock() for _ in range(BLOCKS)],
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10)),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images, labels = torch.rand(512, 3, SIDE, SIDE), torch.randint(0, 10, (512,))
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        chosen = torch.randint(0, len(images), (BATCH,))
        loss = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
