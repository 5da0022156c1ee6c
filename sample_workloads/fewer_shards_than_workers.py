"""Verdict: input-bound/fewer-shards-than-workers. One shard is read by one of four workers."""

import itertools
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sample_workloads.training import (
    classify,
    make_layers,
    parse_arguments,
    step_slowdown,
    train,
)

WIDTH = 512
READ_S = 0.0025


class Shards(IterableDataset[Any]):
    """A stream in shards, each of which is read by one worker; the sleep simulates a network."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.read_s = READ_S * step_slowdown()

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None
        if worker.id >= self.shards:
            return
        for number in itertools.count():
            time.sleep(self.read_s)
            yield torch.full((WIDTH,), float(number % 7)), number % 10


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=4)
    data = Shards(args.workers if args.fix else 1)
    loader = DataLoader(data, batch_size=16, num_workers=args.workers)
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
