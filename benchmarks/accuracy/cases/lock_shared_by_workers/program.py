"""All loader workers share one lock around the archive: only one of them reads at a time."""

import contextlib
import multiprocessing
import sys
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
NETWORK_S = 0.004


class Archive(Dataset[Any]):
    """Samples in an archive on network storage."""

    def __init__(self) -> None:
        self.lock = contextlib.nullcontext() if FIX else multiprocessing.Lock()

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with self.lock:
            values = self.read(index)
        return values, index % 10

    def read(self, index: int) -> torch.Tensor:
        """Return a sample; the wait simulates the network."""
        time.sleep(NETWORK_S)
        return torch.full((256,), float(index % 7))


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Archive(), batch_size=8, shuffle=True, num_workers=4)
    model = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    for values, labels in loader:
        loss = nn.functional.cross_entropy(model(values), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.monotonic() - began > SECONDS:
            break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
