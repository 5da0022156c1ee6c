"""Verdict: healthy. The dataset is in memory and one worker keeps up with the model."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=1)
    data = TensorDataset(torch.randn(50_000, 512), torch.randint(0, 10, (50_000,)))
    loader = DataLoader(
        data,
        batch_size=256,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    train(make_layers(512, 10), loader, args)


if __name__ == "__main__":
    main()
