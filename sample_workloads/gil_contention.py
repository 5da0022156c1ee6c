"""Verdict: gil-contention. A thread of the training process computes statistics in pure Python."""

import multiprocessing
import os
import signal
import threading

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

WIDTH = 2048
BATCH = 64


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Complete batches, created in advance."""

    def __init__(self, number: int) -> None:
        self.inputs = torch.randn(number, BATCH, WIDTH)
        self.labels = torch.randint(0, 10, (number, BATCH))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], self.labels[index]


def compute_statistics(numbers: int = 1 << 62) -> None:
    """Update the mean of a very long series."""
    mean = 0.0
    for number in range(numbers):
        mean += (number % 1000 - mean) / (number + 1)


def compute_in_own_process() -> None:
    """Compute statistics at low priority until the training process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(19)
    training = multiprocessing.parent_process()
    while training is not None and training.is_alive():
        compute_statistics(1_000_000)


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    if args.fix:
        context = multiprocessing.get_context("spawn")
        context.Process(target=compute_in_own_process, daemon=True).start()
    else:
        threading.Thread(target=compute_statistics, daemon=True).start()
    data = Batches(64)
    train(
        make_layers(WIDTH, 1), DataLoader(data, batch_size=None, sampler=rank_sampler(data)), args
    )


if __name__ == "__main__":
    main()
