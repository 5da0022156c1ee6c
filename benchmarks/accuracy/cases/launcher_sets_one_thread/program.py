"""The job script sets OMP_NUM_THREADS=1, as for many ranks, but only one process runs."""

import os
import sys
import time

if "--fix" not in sys.argv:
    os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import nn

SECONDS = float(sys.argv[1])
WIDTH, BATCH = 1024, 512


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
        *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
        nn.Linear(WIDTH, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs, labels = torch.randn(BATCH, WIDTH), torch.randint(0, 10, (BATCH,))
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
