"""`len(dataset)` counts the lines of the file, and the progress message asks for it every step."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FILE = Path(tempfile.gettempdir(), "accuracy-length", "reviews.txt")
LINES = 200_000


class Reviews(Dataset[Any]):
    """Reviews, one per line, and whether they are positive."""

    def __init__(self) -> None:
        with FILE.open() as file:
            self.positive = [line.startswith("+") for line in file]

    def __len__(self) -> int:
        if FIX:
            return len(self.positive)
        with FILE.open() as file:
            return sum(1 for _ in file)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((32,), index / LINES), int(self.positive[index])


def write_reviews() -> None:
    """Write the file."""
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("w") as file:
        file.writelines(f"{'+-'[line % 2]} review {line}, quite long\n" for line in range(LINES))


def main() -> None:
    torch.manual_seed(0)
    write_reviews()
    loader = DataLoader(Reviews(), batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    for features, positive in loader:
        loss = nn.functional.cross_entropy(model(features), positive)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        print(f"\rbatch {steps} of {len(loader)}", end="", file=sys.stderr)
        if time.monotonic() - began > SECONDS:
            break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
