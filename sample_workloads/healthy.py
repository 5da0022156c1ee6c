"""ill: healthy. Data in memory, one worker that keeps up: the time goes into the model."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, train


def main() -> None:
    args = arguments(__doc__, workers=1)
    data = TensorDataset(torch.randn(50_000, 512), torch.randint(0, 10, (50_000,)))
    train(layers(512, 6), DataLoader(data, batch_size=128, num_workers=args.workers), args)


if __name__ == "__main__":
    main()
