"""Verdict: input-bound/rare-slow-sample. A request that times out delays batches of all workers."""

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
USUAL_S, TIMEOUT_S, TIMEOUT_PERIOD = 0.001, 1.0, 640


class RemoteSamples(Dataset[Any]):
    """Samples from a server that sometimes answers late; the sleeps simulate it."""

    def __init__(self) -> None:
        self.slowdown = step_slowdown()

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: int) -> Any:
        time.sleep(USUAL_S)
        if index % TIMEOUT_PERIOD == TIMEOUT_PERIOD - 1:
            time.sleep(TIMEOUT_S * self.slowdown)
        return torch.full((WIDTH,), float(index % 7)), index % 10


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=4)
    data = RemoteSamples()
    loader = DataLoader(
        data,
        batch_size=16,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        in_order=not args.fix,
    )
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
