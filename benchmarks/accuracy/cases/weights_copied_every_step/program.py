"""All weights are copied every step, to return to them in case the loss becomes NaN."""

import copy
import math
import sys
import time
from typing import Any

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WORDS, WIDTH, CLASSES = 200_000, 64, 5


class Rollback:
    """The last weights with which the loss was finite."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.state: dict[str, Any] = {}

    def check(self, step: int, model: nn.Module, loss: float) -> None:
        """Keep the weights, or return to the ones that were kept."""
        if not math.isfinite(loss):
            model.load_state_dict(self.state)
        elif step % self.period == 0:
            self.state = copy.deepcopy(model.state_dict())


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(WORDS, WIDTH, sparse=True), nn.Linear(WIDTH, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rollback = Rollback(period=500 if FIX else 1)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        texts, topics = torch.randint(0, WORDS, (64, 50)), torch.randint(0, CLASSES, (64,))
        loss = nn.functional.cross_entropy(model(texts), topics)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rollback.check(steps, model, loss.item())
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
