"""A fit() method validates after every fifteen steps without gradients, but never calls eval()."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ROWS, HELD_OUT, FEATURES, WIDTH = 40_000, 8000, 32, 300
VALIDATE_EVERY = 300 if FIX else 15


class Estimator:
    """A regressor with fit(), as in scikit-learn."""

    def __init__(self) -> None:
        self.network = nn.Sequential(
            *(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            nn.Linear(WIDTH, 1),
        )
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.error = 0.0

    def step(self, rows: torch.Tensor, wanted: torch.Tensor) -> None:
        """Make one step."""
        self.optimizer.zero_grad()
        nn.functional.mse_loss(self.network(rows).squeeze(1), wanted).backward()
        self.optimizer.step()

    def validate(self, rows: torch.Tensor, wanted: torch.Tensor) -> float:
        """Return the mean squared error."""
        total = 0.0
        with torch.no_grad():
            for part, expected in zip(rows.split(500), wanted.split(500), strict=True):
                predicted = self.network(part).squeeze(1)
                total += float((predicted - expected).square().sum())
        return total / len(rows)

    def fit(self, rows: torch.Tensor, wanted: torch.Tensor) -> int:
        """Train for some seconds; return the number of steps."""
        steps, began = 0, time.monotonic()
        while time.monotonic() - began < SECONDS:
            chosen = torch.randint(HELD_OUT, ROWS, (256,))
            self.step(rows[chosen], wanted[chosen])
            steps += 1
            if steps % VALIDATE_EVERY == 0:
                self.error = self.validate(rows[:HELD_OUT], wanted[:HELD_OUT])
        return steps


def main() -> None:
    torch.manual_seed(0)
    rows = torch.randn(ROWS, FEATURES)
    print("steps_per_s", Estimator().fit(rows, rows.mean(1)) / SECONDS)


if __name__ == "__main__":
    main()
