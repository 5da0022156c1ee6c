"""`np.random.choice(replace=False)` permutes the whole catalog to draw a few negative items."""

import sys
import time

import numpy as np
import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ITEMS, WIDTH, BATCH, NEGATIVES = 500_000, 16, 64, 256

generator = np.random.default_rng(0)


def sample_negatives() -> torch.Tensor:
    """Return items that nobody bought, without duplicates."""
    if FIX:
        drawn = generator.choice(ITEMS, NEGATIVES, replace=False)
    else:
        drawn = np.random.choice(ITEMS, NEGATIVES, replace=False)
    return torch.from_numpy(drawn)


def main() -> None:
    torch.manual_seed(0)
    users, items = nn.Embedding(1000, WIDTH, sparse=True), nn.Embedding(ITEMS, WIDTH, sparse=True)
    parameters = [*users.parameters(), *items.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        user = users(torch.randint(0, 1000, (BATCH,)))
        bought = items(torch.randint(0, ITEMS, (BATCH,)))
        others = items(sample_negatives())
        scores = torch.cat([(user * bought).sum(dim=1, keepdim=True), user @ others.T], dim=1)
        loss = nn.functional.cross_entropy(scores, torch.zeros(BATCH, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
