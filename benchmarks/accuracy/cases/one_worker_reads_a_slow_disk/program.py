"""The files of one worker are on a slow disk; batches are taken in turn, so all wait for it."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WORKERS, BATCH = 3, 16
READ_S = {"local": 0.0005, "nfs": 0.006}
DISKS = ("local", "local", "nfs")


class Recordings(IterableDataset[Any]):
    """Recordings of three disks; with the fix each worker reads from all of them."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        worker = get_worker_info()
        assert worker is not None
        number = 0
        while True:
            disk = DISKS[number % len(DISKS)] if FIX else DISKS[worker.id]
            yield self.read(disk, number)
            number += 1

    def read(self, disk: str, number: int) -> tuple[torch.Tensor, int]:
        """Return a recording; the sleep simulates the disk."""
        time.sleep(READ_S[disk])
        return torch.full((200,), float(number % 3)), number % 3


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Recordings(), batch_size=BATCH, num_workers=WORKERS)
    model = nn.Sequential(nn.Linear(200, 128), nn.ReLU(), nn.Linear(128, 3))
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
