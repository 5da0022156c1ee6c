"""Verdict: input-bound/storage-bound. Workers wait for reads that bypass the page cache."""

import mmap
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import (
    classify,
    make_layers,
    parse_arguments,
    rank_sampler,
    step_slowdown,
    train,
)

SCRATCH = os.environ.get("SCRATCH", "/var/tmp")
"""A folder on a disk; /tmp may be in memory."""
CHUNK = 1 << 20
CHUNKS = 192
WIDTH = 512
BATCH = 4
BATCH_S = 0.075
TRIAL_READS = 64


class Blocks(Dataset[Any]):
    """Random blocks of a file; with `in_memory`, all are read when the dataset is created."""

    def __init__(self, file: int, reads: int, *, in_memory: bool = False) -> None:
        self.file, self.reads = file, reads
        self.buffer: mmap.mmap | None = None
        self.memory = [bytes(self.block(chunk)) for chunk in range(CHUNKS)] if in_memory else None

    def __len__(self) -> int:
        return 200_000

    def block(self, number: int) -> memoryview:
        """Read a block from the disk."""
        if self.buffer is None:
            # O_DIRECT needs aligned memory.
            self.buffer = mmap.mmap(-1, CHUNK)
        os.preadv(self.file, [self.buffer], number * CHUNK)
        return memoryview(self.buffer)

    def __getitem__(self, index: int) -> Any:
        random_numbers = random.Random(index)
        for _ in range(self.reads):
            number = random_numbers.randrange(CHUNKS)
            block = self.memory[number] if self.memory else self.block(number)
            pixels = block[:WIDTH]
        return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).float() / 255, index % 10


def open_scratch_file() -> int:
    """Return a file of CHUNKS blocks, open for reads that bypass the page cache.

    It has no name, so it vanishes with the program.
    """
    with tempfile.TemporaryFile(dir=SCRATCH) as file:
        for _ in range(CHUNKS):
            file.write(os.urandom(CHUNK))
        file.flush()
        os.fsync(file.fileno())
        return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_DIRECT)


def calibrate_reads(file: int, readers: int) -> int:
    """Return the blocks per item for which batches are as slow as from a slow network disk."""
    trials = [Blocks(file, TRIAL_READS) for _ in range(readers)]
    with ThreadPoolExecutor(readers) as pool:
        # The first of two runs is a warm-up.
        for seed in range(2):
            began = time.monotonic()
            list(pool.map(Blocks.__getitem__, trials, range(seed, seed + readers)))
        seconds_per_block = (time.monotonic() - began) / (TRIAL_READS * readers)
    return max(1, round(BATCH_S * step_slowdown() / BATCH / seconds_per_block))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=2)
    try:
        file = open_scratch_file()
        reads = calibrate_reads(file, max(args.workers, 1))
    except OSError as error:
        print(
            f"storage: {SCRATCH} does not support direct reads ({error.strerror}); set SCRATCH to a"
            " folder on another disk",
            file=sys.stderr,
        )
        sys.exit(3)
    data = Blocks(file, reads, in_memory=args.fix)
    loader = DataLoader(
        data, batch_size=BATCH, sampler=rank_sampler(data), num_workers=args.workers
    )
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=24))


if __name__ == "__main__":
    main()
