"""ill: input-bound/storage-bound. Every item is read from the disk itself, past the page cache; the workers wait for it."""

import atexit
import mmap
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, layers, train

CHUNK = 1 << 20
CHUNKS = 192
WIDTH = 512
WANTED_FETCH_S = 0.06
BATCH = 4


class Blocks(Dataset[Any]):
    """Random blocks of a file, read directly from the disk, or, with `in_memory`, once when it is made."""

    def __init__(self, path: Path, reads: int, *, in_memory: bool) -> None:
        self.path, self.reads = path, reads
        self.memory = path.read_bytes() if in_memory else None
        self.file: int | None = None
        self.buffer: mmap.mmap | None = None

    def __len__(self) -> int:
        return 10**6

    def block(self, at: int) -> Any:
        if self.memory is not None:
            return memoryview(self.memory)[at : at + CHUNK]
        if self.file is None or self.buffer is None:
            self.file = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
            self.buffer = mmap.mmap(-1, CHUNK)  # O_DIRECT wants aligned memory
        os.preadv(self.file, [self.buffer], at)
        return memoryview(self.buffer)

    def __getitem__(self, index: int) -> Any:
        chance = random.Random(index)
        for _ in range(self.reads):
            data = self.block(CHUNK * chance.randrange(CHUNKS))
        return torch.frombuffer(bytearray(data[: 4 * WIDTH]), dtype=torch.uint8)[:WIDTH].float(), index % 10


def scratch_file() -> Path:
    """A file of CHUNKS blocks in a folder that goes when the program ends."""
    owner, folder = (
        os.getpid(),
        Path(tempfile.mkdtemp(prefix="storage-sample-", dir=os.environ.get("SCRATCH", "/var/tmp"))),
    )
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    path = folder / "blocks"
    with open(path, "wb") as file:
        for _ in range(CHUNKS):
            file.write(os.urandom(CHUNK))
        file.flush()
        os.fsync(file.fileno())
    return path


def reads_that_last(path: Path) -> int:
    """How many blocks an item must have here for a batch to take as long as on a slow network disk."""
    trial, began = Blocks(path, 8, in_memory=False), time.monotonic()
    trial[0]
    return max(1, round(WANTED_FETCH_S / BATCH / ((time.monotonic() - began) / 8)))


def main() -> None:
    args = arguments(__doc__, workers=2)
    path = scratch_file()
    try:
        reads = reads_that_last(path)
    except OSError as error:
        sys.exit(
            f"storage: {path.parent} cannot be read past the page cache ({error.strerror}); set SCRATCH to another disk"
        )
    data = Blocks(path, reads, in_memory=args.fix)
    train(layers(WIDTH, 6), DataLoader(data, batch_size=BATCH, num_workers=args.workers), args, learn=varied)


def varied(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """Four items seen in many variations."""
    inputs, labels = batch
    return torch.nn.functional.cross_entropy(model(inputs.repeat(24, 1) / 255), labels.repeat(24))


if __name__ == "__main__":
    main()
