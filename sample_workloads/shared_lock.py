"""Verdict: input-bound/shared-lock. All workers read an archive under one lock."""

import contextlib
import multiprocessing
import time
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import (
    classify,
    make_layers,
    parse_arguments,
    rank_sampler,
    step_slowdown,
    train,
)

WIDTH = 512
READ_S = 0.003


class Archive(Dataset[Any]):
    """Samples of an archive on a network disk, which a sleep simulates."""

    def __init__(self, *, locked: bool) -> None:
        self.lock = multiprocessing.Lock() if locked else contextlib.nullcontext()
        self.read_s = READ_S * step_slowdown()

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        with self.lock:
            time.sleep(self.read_s)
        return torch.full((WIDTH,), float(index % 7)), index % 10


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=4)
    data = Archive(locked=not args.fix)
    loader = DataLoader(data, batch_size=16, sampler=rank_sampler(data), num_workers=args.workers)
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
