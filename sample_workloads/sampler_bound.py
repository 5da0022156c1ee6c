"""Verdict: input-bound/sampler-bound. A sampler weighs a million samples for each short epoch."""

import torch
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from sample_workloads.training import make_layers, parse_arguments, train

WIDTH = 64
SAMPLES, PER_EPOCH = 1_000_000, 512


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = TensorDataset(torch.randn(1024, WIDTH).repeat(8, 1))
    labeled = TensorDataset(*data.tensors, torch.arange(len(data)) % 10)
    weights = torch.zeros(SAMPLES)
    weights[: len(data)] = 1.0
    weights = weights[: len(data)] if args.fix else weights
    sampler = WeightedRandomSampler(weights.tolist(), PER_EPOCH, replacement=False)
    loader = DataLoader(labeled, batch_size=64, sampler=sampler, num_workers=args.workers)
    train(make_layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
