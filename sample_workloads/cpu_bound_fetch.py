"""Verdict: input-bound/cpu-bound-fetch. Each sample is searched in a folder with many files."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import (
    make_layers,
    parse_arguments,
    rank_sampler,
    train,
    usable_cores,
)

WIDTH = 512
FILES = 2000


class Folder(Dataset[Any]):
    """Samples whose files are found by a pattern, or in a list that was made once."""

    def __init__(self, folder: Path, *, list_once: bool) -> None:
        self.folder = folder
        for number in range(FILES):
            (folder / f"sample-{number:05}.txt").write_text(str(number))
        self.paths = {path.stem: path for path in folder.iterdir()} if list_once else None

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        name = f"sample-{index % FILES:05}"
        if self.paths is not None:
            path = self.paths[name]
        else:
            (path,) = self.folder.glob(f"{name}.*")
        number = int(path.read_text())
        return torch.full((WIDTH,), float(number % 7)), number % 10


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=usable_cores())
    with tempfile.TemporaryDirectory() as folder:
        data = Folder(Path(folder), list_once=args.fix)
        loader = DataLoader(
            data, batch_size=16, sampler=rank_sampler(data), num_workers=args.workers
        )
        train(make_layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
