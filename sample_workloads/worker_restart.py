"""Verdict: input-bound/worker-restart. Each short epoch starts four workers again."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import RANKS, make_layers, parse_arguments, rank_sampler, train

WIDTH = 512
BATCH, BATCHES = 32, 12


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=4)
    samples = BATCH * BATCHES * RANKS
    data = TensorDataset(torch.randn(samples, WIDTH), torch.arange(samples) % 10)
    loader = DataLoader(
        data,
        batch_size=BATCH,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        persistent_workers=args.fix,
    )
    train(make_layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
