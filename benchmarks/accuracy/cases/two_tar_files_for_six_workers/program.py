"""A dataset of two tar files is read by six workers; four of them never get a file."""

import io
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FOLDER = Path(tempfile.gettempdir(), "accuracy-shards")
SHARDS, SAMPLES, WORKERS, DOWNLOAD_S = 6 if FIX else 2, 240, 6, 0.005


def write_shard(path: Path) -> None:
    """Write one tar file with small arrays."""
    with tarfile.open(path, "w") as shard:
        for number in range(SAMPLES):
            content = np.full(128, number % 9, dtype=np.float32).tobytes()
            member = tarfile.TarInfo(f"{number}.f32")
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


class TarFiles(IterableDataset[Any]):
    """Samples of tar files, divided among the workers by file."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        worker = get_worker_info()
        assert worker is not None
        while files := self.paths[worker.id :: worker.num_workers]:
            for path in files:
                yield from self.read(path)

    def read(self, path: Path) -> Iterator[tuple[torch.Tensor, int]]:
        """Yield the samples of a file; the sleep simulates a bucket in the cloud."""
        with tarfile.open(path) as shard:
            for number, member in enumerate(shard):
                time.sleep(DOWNLOAD_S)
                content = shard.extractfile(member)
                assert content is not None
                values = np.frombuffer(content.read(), dtype=np.float32)
                yield torch.from_numpy(values.copy()), number % 9


def main() -> None:
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    paths = [FOLDER / f"{shard:06}.tar" for shard in range(SHARDS)]
    for path in paths:
        write_shard(path)
    loader = DataLoader(TarFiles(paths), batch_size=8, num_workers=WORKERS)
    model = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 9))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    for values, labels in loader:
        loss = nn.functional.cross_entropy(model(values), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.monotonic() - began > SECONDS:
            break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
