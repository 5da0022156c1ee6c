"""`gc.collect()` is called after each step, to save memory, in a program with many objects."""

import gc
import random
import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
DIALOGS, WORDS, BATCH, TURNS = 15_000, 500, 32, 6


def make_dialogs() -> list[dict[str, list[int]]]:
    """Return a dataset of Python objects."""
    choose = random.Random(0).randrange
    return [
        {"words": [choose(WORDS) for _ in range(TURNS)], "speaker": [choose(2)]}
        for _ in range(DIALOGS)
    ]


def main() -> None:
    torch.manual_seed(0)
    dialogs = make_dialogs()
    model = nn.Sequential(nn.EmbeddingBag(WORDS, 64), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        batch = random.sample(dialogs, BATCH)
        words = torch.tensor([dialog["words"] for dialog in batch])
        speakers = torch.tensor([dialog["speaker"][0] for dialog in batch])
        loss = nn.functional.cross_entropy(model(words), speakers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not FIX:
            gc.collect()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
