"""An LSTM is written as a Python loop over time with a cell, instead of one call for all steps."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
BATCH, LENGTH, INPUTS, WIDTH = 16, 100, 8, 48


class Forecaster(nn.Module):
    """Predicts the next value of several series."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(INPUTS, WIDTH)
        self.recurrent = nn.LSTM(INPUTS, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, INPUTS)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        if FIX:
            outputs, _ = self.recurrent(series)
            return self.head(outputs)
        hidden, memory = torch.zeros(BATCH, WIDTH), torch.zeros(BATCH, WIDTH)
        predictions = []
        for moment in range(LENGTH):
            hidden, memory = self.cell(series[:, moment], (hidden, memory))
            predictions.append(self.head(hidden))
        return torch.stack(predictions, dim=1)


def main() -> None:
    torch.manual_seed(0)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        series = torch.randn(BATCH, LENGTH + 1, INPUTS)
        loss = nn.functional.mse_loss(model(series[:, :-1]), series[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
