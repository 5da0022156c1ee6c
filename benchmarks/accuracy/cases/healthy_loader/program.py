"""Healthy: a worker has each batch ready in time, evaluation and checkpoints are rare and short."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS = float(sys.argv[1])
INPUTS, WIDTH, BATCH = 256, 1024, 256
EVALUATE_EVERY, SAVE_EVERY = 100, 400
FILE = Path(tempfile.gettempdir(), "accuracy-healthy.pt")


class Rows(Dataset[Any]):
    """Rows of numbers."""

    def __init__(self, count: int) -> None:
        self.values = torch.randn(count, INPUTS)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.values[row], row % 10


@torch.no_grad()
def evaluate(model: nn.Module, held_out: torch.Tensor) -> float:
    """Return the mean of the outputs for the data that are held out."""
    return float(model(held_out).mean())


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Rows(100_000), BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    layers = [nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    held_out = torch.randn(512, INPUTS)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for values, labels in loader:
            loss = nn.functional.cross_entropy(model(values), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % EVALUATE_EVERY == 0:
                print(f"step {steps}: {evaluate(model, held_out):.4f}")
            if steps % SAVE_EVERY == 0:
                torch.save(model.state_dict(), FILE)
            if time.monotonic() - began > SECONDS:
                break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
