"""Every 50 steps the features of the validation set are projected with an SVD for a plot."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
SAMPLES, INPUTS, WIDTH = 1500, 64, 400
PLOT_EVERY = 5000 if FIX else 50


class ProjectionPlot:
    """The points of a scatter plot of the features."""

    def __init__(self) -> None:
        self.points: list[list[float]] = []

    @torch.no_grad()
    def draw(self, features: torch.Tensor) -> None:
        """Project the features to their first two principal components."""
        centered = features - features.mean(dim=0)
        _, _, components = torch.linalg.svd(centered, full_matrices=False)
        self.points = (centered @ components[:2].T).tolist()


def main() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh())
    head = nn.Linear(WIDTH, 10)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
    validation, plot = torch.randn(SAMPLES, INPUTS), ProjectionPlot()
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs, labels = torch.randn(128, INPUTS), torch.randint(0, 10, (128,))
        loss = nn.functional.cross_entropy(head(encoder(inputs)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if steps % PLOT_EVERY == 0:
            plot.draw(encoder(validation))
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
