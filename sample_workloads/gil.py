"""ill: gil-contention. A thread of the training process computes statistics in pure Python and
holds the interpreter.
"""

import multiprocessing
import os
import signal
import threading

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, layers, own_part, train

WIDTH = 2048
BATCH = 64


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Whole batches, made beforehand."""

    def __init__(self, number: int) -> None:
        self.inputs = torch.randn(number, BATCH, WIDTH)
        self.labels = torch.randint(0, 10, (number, BATCH))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], self.labels[index]


def statistics(numbers: int = 1 << 62) -> None:
    """Never-ending arithmetic on a running series."""
    mean = 0.0
    for number in range(numbers):
        mean += (number % 1000 - mean) / (number + 1)


def statistics_apart() -> None:
    """The same in a process of its own that yields to training, until the training is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(19)
    program = multiprocessing.parent_process()
    while program is not None and program.is_alive():
        statistics(1_000_000)


def main() -> None:
    args = arguments(__doc__)
    if args.fix:
        multiprocessing.get_context("spawn").Process(target=statistics_apart, daemon=True).start()
    else:
        threading.Thread(target=statistics, daemon=True).start()
    data = Batches(64)
    train(layers(WIDTH, 1), DataLoader(data, batch_size=None, sampler=own_part(data)), args)


if __name__ == "__main__":
    main()
