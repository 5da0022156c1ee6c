"""Verdict: growing-steps. Each step computes the median of the losses of all past samples."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

BATCH, WIDTH = 512, 128
KEPT_BATCHES = 50


class LossHistory:
    """The losses of past samples, and their median."""

    def __init__(self, kept: int | None) -> None:
        self.kept = kept
        self.losses: list[torch.Tensor] = []
        self.median = 0.0

    def add(self, losses: torch.Tensor) -> None:
        """Keep the losses of a batch."""
        self.losses.append(losses)
        if self.kept is not None:
            del self.losses[: -self.kept]

    def update_median(self) -> None:
        """Compute the median of all losses that are kept."""
        self.median = float(torch.cat(self.losses).median())


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    history = LossHistory(KEPT_BATCHES if args.fix else None)

    def classify_and_report(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return the loss, and update the median of all losses."""
        losses = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        history.add(losses.detach())
        history.update_median()
        return losses.mean()

    data = TensorDataset(torch.randn(BATCH * 64, WIDTH), torch.randint(0, 10, (BATCH * 64,)))
    loader = DataLoader(data, batch_size=BATCH, sampler=rank_sampler(data))
    train(make_layers(WIDTH, 3), loader, args, learn=classify_and_report)


if __name__ == "__main__":
    main()
