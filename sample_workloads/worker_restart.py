"""ill: input-bound/worker-restart. Short epochs whose workers start anew each time and read their
index again.
"""

import json
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import RANKS, arguments, layers, own_part, train

WIDTH = 512
BATCH, BATCHES = 128, 16


class Indexed(Dataset[Any]):
    """A small data set with a large index, which each worker parses when it is first asked for
    something.
    """

    def __init__(self) -> None:
        self.text = json.dumps(
            {f"sample/{number}": [number, number % 10] for number in range(200_000)}
        )
        self.index: dict[str, list[int]] | None = None
        self.values = torch.randn(64, WIDTH)

    def __len__(self) -> int:
        return BATCH * BATCHES * RANKS

    def __getitem__(self, at: int) -> Any:
        if self.index is None:
            self.index = json.loads(self.text)
        number, label = self.index[f"sample/{at}"]
        return self.values[number % 64], label


def main() -> None:
    args = arguments(__doc__, workers=2)
    data = Indexed()
    loader = DataLoader(
        data,
        batch_size=BATCH,
        sampler=own_part(data),
        num_workers=args.workers,
        persistent_workers=args.fix,
    )
    train(layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
