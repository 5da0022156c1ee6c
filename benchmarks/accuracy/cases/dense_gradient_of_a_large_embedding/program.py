"""Adam updates every row of a large embedding although a batch uses only a few thousand rows."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ITEMS, WIDTH, BATCH, HISTORY = 300_000, 32, 128, 20


class Recommender(nn.Module):
    """Scores an item from the items that a user bought before."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(ITEMS, WIDTH, sparse=FIX)
        self.tower = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, history: torch.Tensor) -> torch.Tensor:
        return self.tower(self.items(history).mean(dim=1)).squeeze(1)


def make_optimizers(model: Recommender) -> list[torch.optim.Optimizer]:
    """Return the optimizers of all parameters."""
    if not FIX:
        return [torch.optim.Adam(model.parameters(), lr=1e-3)]
    table = torch.optim.SparseAdam(model.items.parameters(), lr=1e-3)
    return [table, torch.optim.Adam(model.tower.parameters(), lr=1e-3)]


def main() -> None:
    torch.manual_seed(0)
    model = Recommender()
    optimizers = make_optimizers(model)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        history = torch.randint(0, ITEMS, (BATCH, HISTORY))
        clicked = torch.randint(0, 2, (BATCH,)).float()
        loss = nn.functional.binary_cross_entropy_with_logits(model(history), clicked)
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
