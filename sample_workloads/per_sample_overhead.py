"""Verdict: input-bound/per-sample-overhead. Rows of a table in memory are read one by one."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import (
    RANK,
    RANKS,
    make_layers,
    parse_arguments,
    rank_sampler,
    train,
)

ROWS, COLUMNS = 100_000, 16
BATCH = 1024


class Table(Dataset[Any]):
    """Columns of numbers, of which each access makes a row."""

    def __init__(self) -> None:
        self.columns = torch.randn(COLUMNS, ROWS)
        self.labels = torch.arange(ROWS) % 10

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> Any:
        return torch.stack([column[row] for column in self.columns]), self.labels[row]

    def batches(self) -> Iterator[Any]:
        """Yield whole batches of this rank's rows."""
        for rows in torch.arange(RANK, ROWS, RANKS).split(BATCH):
            yield self.columns[:, rows].T.contiguous(), self.labels[rows]


class WholeBatches:
    """The batches of a table, each sliced at once."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __iter__(self) -> Iterator[Any]:
        return self.table.batches()


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = Table()
    loader = DataLoader(
        data, batch_size=BATCH, sampler=rank_sampler(data), num_workers=args.workers
    )
    train(make_layers(COLUMNS, 6), WholeBatches(data) if args.fix else loader, args)


if __name__ == "__main__":
    main()
