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


def main() -> None:
    path, workers, step_ms, fetch_ms = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    weights = torch.randn(256, 256)
    loader = DataLoader(Spinning(fetch_ms / 8), batch_size=8, num_workers=workers)
    with open(path, "w", buffering=1) as marks:
        for batch in loader:
            until = time.thread_time() + step_ms / 1000
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            while time.thread_time() < until:
                weights @ weights
            optimizer.step()
            marks.write(f"{time.monotonic_ns()}\n")


if __name__ == "__main__":
    main()
