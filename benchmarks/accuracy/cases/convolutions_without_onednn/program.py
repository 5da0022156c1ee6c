"""A workaround for an old crash switches oneDNN off; 3D convolutions then use a slow fallback."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv

torch.backends.mkldnn.set_flags(FIX)


def make_network() -> nn.Module:
    """Return a small network for volumes."""
    return nn.Sequential(
        *(nn.Conv3d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv3d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv3d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(32, 2)),
    )


def main() -> None:
    torch.manual_seed(0)
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        scans, labels = torch.rand(2, 1, 24, 48, 48), torch.randint(0, 2, (2,))
        loss = nn.functional.cross_entropy(network(scans), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
