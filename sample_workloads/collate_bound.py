"""Verdict: input-bound/collate-bound. A collate_fn pads sequences in a Python loop over numbers."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

LONGEST = 512
SCALE = 3.0


class Sequences(Dataset[Any]):
    """Sequences of different lengths."""

    def __init__(self) -> None:
        self.values = torch.randn(LONGEST)

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        return self.values[: LONGEST // 2 + index % (LONGEST // 2)], index % 10


def collate_slowly(items: list[Any]) -> Any:
    """Scale and pad with zeros, in a Python loop."""
    padded = [
        [float(row[at]) / SCALE if at < len(row) else 0.0 for at in range(LONGEST)]
        for row, _ in items
    ]
    return torch.tensor(padded), torch.tensor([label for _, label in items])


def collate_fast(items: list[Any]) -> Any:
    """Scale and pad with zeros, in a few calls of torch."""
    rows = torch.nn.utils.rnn.pad_sequence([row for row, _ in items], batch_first=True)
    padded = torch.nn.functional.pad(rows, (0, LONGEST - rows.shape[1]))
    return padded / SCALE, torch.tensor([label for _, label in items])


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=2)
    data, collate = Sequences(), collate_fast if args.fix else collate_slowly
    loader = DataLoader(
        data,
        batch_size=128,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        collate_fn=collate,
    )
    train(make_layers(LONGEST, 10), loader, args)


if __name__ == "__main__":
    main()
