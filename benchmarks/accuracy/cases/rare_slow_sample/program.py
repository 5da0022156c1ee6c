"""A download that is repeated blocks one worker, and the batches of all others wait for it."""

import sys
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
DOWNLOAD_S, RETRY_S, RETRY_PERIOD = 0.001, 0.8, 500


class RemoteImages(Dataset[Any]):
    """Images that are downloaded; the waits stand in for the network."""

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(DOWNLOAD_S)
        if index % RETRY_PERIOD == RETRY_PERIOD - 1:
            time.sleep(RETRY_S)
        return torch.full((3, 16, 16), float(index % 5)), index % 10


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(RemoteImages(), batch_size=10, num_workers=4, in_order=not FIX)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    for images, labels in loader:
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.monotonic() - began > SECONDS:
            break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
