"""ill: healthy. Data in memory, one worker that keeps up: the time goes into the model."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, own_part, train


def main() -> None:
    args = arguments(__doc__, workers=1)
    data = TensorDataset(torch.randn(50_000, 512), torch.randint(0, 10, (50_000,)))
    loader = DataLoader(
        data,
        batch_size=256,
        sampler=own_part(data),
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    train(layers(512, 10), loader, args)


if __name__ == "__main__":
    main()
