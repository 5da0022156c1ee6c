"""A model has two small parameters for each user; the optimizer updates 600 tensors in turn."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
USERS, WIDTH, BATCH = 300, 16, 64


class PerUserModel(nn.Module):
    """A shared layer, and a scale and a shift for each user."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.scales = nn.ParameterList([torch.ones(WIDTH) for _ in range(USERS)])
        self.shifts = nn.ParameterList([torch.zeros(WIDTH) for _ in range(USERS)])

    def forward(self, users: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        scales, shifts = torch.stack(list(self.scales)), torch.stack(list(self.shifts))
        return self.shared(inputs) * scales[users] + shifts[users]


class TableModel(nn.Module):
    """The same model with one table of scales and one of shifts."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.scales = nn.Parameter(torch.ones(USERS, WIDTH))
        self.shifts = nn.Parameter(torch.zeros(USERS, WIDTH))

    def forward(self, users: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return self.shared(inputs) * self.scales[users] + self.shifts[users]


def main() -> None:
    torch.manual_seed(0)
    model = TableModel() if FIX else PerUserModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        users, inputs = torch.randint(0, USERS, (BATCH,)), torch.randn(BATCH, WIDTH)
        loss = (model(users, inputs) - inputs.roll(1, dims=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
