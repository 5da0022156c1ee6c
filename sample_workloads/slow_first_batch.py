"""Verdict: input-bound/slow-first-batch. A shuffle buffer is filled before the first sample."""

import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from sample_workloads.training import (
    classify,
    make_layers,
    parse_arguments,
    step_slowdown,
    train,
)

WIDTH = 512
RECORDS, BUFFER, CHUNK = 1280, 1024, 32
CHUNK_S = 0.03


class Shuffled(IterableDataset[Any]):
    """Records that are read in chunks (the sleep simulates a network), shuffled in a buffer."""

    def __init__(self, first_fill: int) -> None:
        self.first_fill = first_fill
        self.chunk_s = CHUNK_S * step_slowdown()

    def read(self) -> Iterator[int]:
        """Yield the numbers of the records in order."""
        for start in range(0, RECORDS, CHUNK):
            time.sleep(self.chunk_s)
            yield from range(start, start + CHUNK)

    def __iter__(self) -> Iterator[Any]:
        buffer: list[int] = []
        for record in self.read():
            buffer.append(record)
            if len(buffer) >= self.first_fill:
                yield self.sample(buffer.pop(random.randrange(len(buffer))))
        yield from map(self.sample, buffer)

    def sample(self, record: int) -> Any:
        """Return the sample of a record."""
        return torch.full((WIDTH,), float(record % 7)), record % 10


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=1)
    data = Shuffled(CHUNK if args.fix else BUFFER)
    loader = DataLoader(data, batch_size=32, num_workers=args.workers, persistent_workers=True)
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
