"""The thread that prepares batches stopped with an exception; the loop waits for it forever."""

import queue
import sys
import threading
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
BATCH, GOOD_BATCHES = 32, 300


class Prefetcher(threading.Thread):
    """Prepares batches in a thread."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.batches: queue.Queue[torch.Tensor] = queue.Queue(maxsize=4)

    def run(self) -> None:
        number = 0
        while True:
            self.batches.put(self.prepare(number))
            number += 1

    def prepare(self, number: int) -> torch.Tensor:
        """Return a batch; one file of the dataset is damaged."""
        if number == GOOD_BATCHES and not FIX:
            raise ValueError(f"damaged file in batch {number}")
        return torch.full((BATCH, 64), float(number % 7))


def main() -> None:
    torch.manual_seed(0)
    prefetcher = Prefetcher()
    prefetcher.start()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        batch = prefetcher.batches.get()
        model(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
