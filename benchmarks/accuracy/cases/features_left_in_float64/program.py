"""Features come from NumPy as float64, and the model was converted to double to match them."""

import sys
import time

import numpy as np
import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ROWS, FEATURES, WIDTH, BATCH = 20_000, 512, 1024, 512


class Regressor(nn.Module):
    """Two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        )
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(rows))


def main() -> None:
    torch.manual_seed(0)
    numbers = np.random.default_rng(0)
    table = numbers.normal(size=(ROWS, FEATURES))
    if FIX:
        table = table.astype(np.float32)
    model = Regressor().to(torch.from_numpy(table[:1]).dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        rows = torch.from_numpy(table[numbers.integers(0, ROWS, BATCH)])
        loss = (model(rows).squeeze(1) - rows[:, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
