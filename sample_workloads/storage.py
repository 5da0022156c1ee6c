"""ill: input-bound/storage-bound. Every item is read from the disk itself, past the page cache; the workers wait for it."""

import atexit
import mmap
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, classify, layers, own_part, train

CHUNK = 1 << 20
CHUNKS = 192
WIDTH = 512
BATCH = 4
BATCH_S = 0.075
TRIAL = 64


class Blocks(Dataset[Any]):
    """Random blocks of a file, read directly from the disk, or, with `in_memory`, once when it is made."""

    def __init__(self, path: Path, reads: int, *, in_memory: bool = False) -> None:
        self.path, self.reads = path, reads
        self.memory = path.read_bytes() if in_memory else None
        self.file: int | None = None
        self.buffer: mmap.mmap | None = None

    def __len__(self) -> int:
        return 200_000

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
        parts = [bytes(self.block(CHUNK * chance.randrange(CHUNKS))[:WIDTH]) for _ in range(self.reads)]
        return torch.frombuffer(bytearray(parts[-1]), dtype=torch.uint8).float() / 255, index % 10


def scratch_file() -> Path:
    """A file of CHUNKS blocks in a folder that goes when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="storage-sample-", dir=os.environ.get("SCRATCH", "/var/tmp")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "blocks"
    with open(path, "wb") as file:
        for _ in range(CHUNKS):
            file.write(os.urandom(CHUNK))
        file.flush()
        os.fsync(file.fileno())
    return path


def reads_that_last(path: Path, readers: int) -> int:
    """How many blocks an item must have here for batches to come as slowly as from a slow network disk."""
    trials = [Blocks(path, TRIAL) for _ in range(readers)]
    with ThreadPoolExecutor(readers) as pool:
        for seed in range(2):  # the first time warms up
            began = time.monotonic()
            list(pool.map(Blocks.__getitem__, trials, range(seed, seed + readers)))
        seconds_a_block = (time.monotonic() - began) / (TRIAL * readers)
    return max(1, round(BATCH_S / BATCH / seconds_a_block))


def main() -> None:
    args = arguments(__doc__, workers=2)
    path = scratch_file()
    try:
        reads = reads_that_last(path, max(args.workers, 1))
    except OSError as error:
        sys.exit(f"storage: {path.parent} cannot be read past the page cache ({error.strerror}); set SCRATCH to a disk")
    data = Blocks(path, reads, in_memory=args.fix)
    loader = DataLoader(data, batch_size=BATCH, sampler=own_part(data), num_workers=args.workers)
    train(layers(WIDTH, 12), loader, args, learn=partial(classify, variations=24))


if __name__ == "__main__":
    main()
