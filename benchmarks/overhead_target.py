"""A training loop that writes down when each step ended: `overhead_target.py FILE WORKERS STEP_MS FETCH_MS`."""

import sys
import time

import torch
from torch.utils.data import DataLoader, Dataset


class Spinning(Dataset[torch.Tensor]):
    """Items that cost CPU time."""

    def __init__(self, item_ms: float) -> None:
        self.item_ms = item_ms

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> torch.Tensor:
        until = time.thread_time() + self.item_ms / 1000
        while time.thread_time() < until:
            pass
        return torch.zeros(64)


def calibrated(weights: torch.Tensor, step_ms: float) -> int:
    """How many products last a step: a fixed amount of work, so that whatever slows a step shows in its length."""
    began, products = time.thread_time(), 0
    while time.thread_time() - began < 1:
        weights @ weights
        products += 1
    return max(round(products * step_ms / 1000), 1)


def main() -> None:
    path, workers, step_ms, fetch_ms = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    weights = torch.randn(128, 128)
    products = calibrated(weights, step_ms)
    loader = DataLoader(Spinning(fetch_ms / 8), batch_size=8, num_workers=workers)
    with open(path, "w", buffering=1) as marks:
        for batch in loader:
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            for _ in range(products):
                weights @ weights
            optimizer.step()
            marks.write(f"{time.monotonic_ns()}\n")


if __name__ == "__main__":
    main()
