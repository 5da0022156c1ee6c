"""ill: gil-contention. A thread of the training process computes statistics in pure Python and holds the interpreter."""

import multiprocessing
import threading

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, train


def statistics() -> None:
    """Never-ending arithmetic on a running series."""
    mean = 0.0
    for number in range(1 << 62):
        mean += (number % 1000 - mean) / (number + 1)


def main() -> None:
    args = arguments(__doc__)
    if args.fix:
        multiprocessing.get_context("spawn").Process(target=statistics, daemon=True).start()
    else:
        threading.Thread(target=statistics, daemon=True).start()
    data = TensorDataset(torch.randn(4096, 512), torch.randint(0, 10, (4096,)))
    train(layers(512, 3), DataLoader(data, batch_size=64), args)


if __name__ == "__main__":
    main()
