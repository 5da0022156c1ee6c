"""Verdict: input-bound/uneven-workers. The source of one worker is slow, and all wait its turn."""

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
SLOW_S, FAST_S = 0.008, 0.0005


class Sources(IterableDataset[Any]):
    """A source per worker, of which the first is slow; with `shared` all workers read from all."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self.slow_s = SLOW_S * step_slowdown()

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None
        for number in itertools.count():
            source = number % worker.num_workers if self.shared else worker.id
            yield self.read(number, slow=source == 0)

    def read(self, number: int, *, slow: bool) -> Any:
        """Return a sample; the sleep simulates a disk."""
        time.sleep(self.slow_s if slow else FAST_S)
        return torch.full((WIDTH,), float(number % 7)), number % 10


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=4)
    loader = DataLoader(Sources(shared=args.fix), batch_size=16, num_workers=args.workers)
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
