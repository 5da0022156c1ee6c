"""Verdict: input-bound/slow-worker-start. New workers of each short epoch first load an index."""

import json
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import RANKS, make_layers, parse_arguments, rank_sampler, train

WIDTH = 512
BATCH, BATCHES = 128, 16


class Indexed(Dataset[Any]):
    """A small dataset with a large index, which each worker parses at its first access."""

    def __init__(self) -> None:
        self.text = json.dumps(
            {f"sample/{number}": [number, number % 10] for number in range(200_000)}
        )
        self.index: dict[str, list[int]] | None = None
        self.values = torch.randn(64, WIDTH)

    def __len__(self) -> int:
        return BATCH * BATCHES * RANKS

    def __getitem__(self, index: int) -> Any:
        if self.index is None:
            self.index = json.loads(self.text)
        number, label = self.index[f"sample/{index}"]
        return self.values[number % 64], label


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=2)
    data = Indexed()
    loader = DataLoader(
        data,
        batch_size=BATCH,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        persistent_workers=args.fix,
    )
    train(make_layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
