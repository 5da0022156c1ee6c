"""A weighted sampler without replacement draws from a million weights for each short epoch."""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ROWS, PER_EPOCH, BATCH = 1_000_000, 1280, 64


def main() -> None:
    torch.manual_seed(0)
    labels = (torch.rand(ROWS) < 0.05).long()
    data = TensorDataset(torch.randn(ROWS, 16), labels)
    weights = torch.where(labels == 1, 19.0, 1.0)
    sampler = WeightedRandomSampler(weights, PER_EPOCH, replacement=FIX)
    loader = DataLoader(data, batch_size=BATCH, sampler=sampler)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for features, targets in loader:
            loss = nn.functional.cross_entropy(model(features), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
