"""Workers are forked while a thread holds the lock of a cache; they wait for that lock forever."""

import sys
import threading
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
EPOCH, REFRESH_AFTER_EPOCHS, REFRESH_S = 64, 4, 2.0


class Cache:
    """Values that a thread refreshes now and that samples read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values = torch.randn(1000)

    def refresh(self) -> None:
        """Replace the values, which takes a while."""
        with self.lock:
            time.sleep(REFRESH_S)
            self.values = torch.randn(1000)

    def read(self, index: int) -> torch.Tensor:
        """Return a value."""
        with self.lock:
            return self.values[index % 1000].expand(16)


class Cached(Dataset[Any]):
    """Samples from the cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.cache.read(index)


def main() -> None:
    torch.manual_seed(0)
    cache = Cache()
    loader = DataLoader(Cached(cache), batch_size=8, num_workers=2, persistent_workers=FIX)
    model = nn.Linear(16, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps, epochs, began = 0, 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        if epochs == REFRESH_AFTER_EPOCHS:
            threading.Thread(target=cache.refresh, daemon=True).start()
        for values in loader:
            model(values).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        epochs += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
