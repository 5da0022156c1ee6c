"""ill: input-bound/collate-bound. A collate_fn that pads sequences number by number in Python."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, layers, own_part, train

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


def number_by_number(items: list[Any]) -> Any:
    """Scales and pads with zeros, as a Python loop."""
    padded = [
        [float(row[at]) / SCALE if at < len(row) else 0.0 for at in range(LONGEST)]
        for row, _ in items
    ]
    return torch.tensor(padded), torch.tensor([label for _, label in items])


def at_once(items: list[Any]) -> Any:
    """Scales and pads with zeros, in a few calls."""
    rows = torch.nn.utils.rnn.pad_sequence([row for row, _ in items], batch_first=True)
    wide = torch.nn.functional.pad(rows, (0, LONGEST - rows.shape[1]))
    return wide / SCALE, torch.tensor([label for _, label in items])


def main() -> None:
    args = arguments(__doc__, workers=2)
    data, collate = Sequences(), at_once if args.fix else number_by_number
    loader = DataLoader(
        data, batch_size=128, sampler=own_part(data), num_workers=args.workers, collate_fn=collate
    )
    train(layers(LONGEST, 10), loader, args)


if __name__ == "__main__":
    main()
