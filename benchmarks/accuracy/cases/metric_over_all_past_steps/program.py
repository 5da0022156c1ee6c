"""A ranking metric keeps all predictions of the epoch and is computed from them in each step."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
BATCH, INPUTS = 256, 32
COMPUTE_EVERY = 1000 if FIX else 1


class RankingMetric:
    """The area under the ROC curve over everything since the start of the epoch."""

    def __init__(self) -> None:
        self.scores: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []

    def update(self, scores: torch.Tensor, targets: torch.Tensor) -> None:
        """Keep a batch."""
        self.scores.append(scores.detach())
        self.targets.append(targets)

    def compute(self) -> float:
        """Return the area for all kept batches."""
        order = torch.cat(self.scores).argsort()
        targets = torch.cat(self.targets)[order]
        positives = targets.sum()
        ranks = torch.arange(1, len(targets) + 1, dtype=torch.float64)
        pairs = positives * (len(targets) - positives)
        return float(((ranks * targets).sum() - positives * (positives + 1) / 2) / pairs)


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(INPUTS, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    metric, area = RankingMetric(), 0.0
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs = torch.randn(BATCH, INPUTS)
        targets = (inputs[:, 0] + torch.randn(BATCH) > 0).float()
        scores = model(inputs).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(scores, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metric.update(scores, targets)
        if steps % COMPUTE_EVERY == 0:
            area = metric.compute()
        steps += 1
    print(f"area {area:.3f}")
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
