"""ill: input-bound/storage-bound. Every item is read from the disk itself, past the page cache; the
workers wait for it.
"""

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

from sample_workloads.training import arguments, classify, exchanging, layers, own_part, train

SCRATCH = os.environ.get("SCRATCH", "/var/tmp")  # /tmp may be memory
CHUNK = 1 << 20
CHUNKS = 192
WIDTH = 512
BATCH = 4
BATCH_S = 0.075
TRIAL = 64


class Blocks(Dataset[Any]):
    """Random blocks of a file, read directly from the disk, or, with `in_memory`, once when it is
    made.
    """

    def __init__(self, file: int, reads: int, *, in_memory: bool = False) -> None:
        self.file, self.reads = file, reads
        self.buffer: mmap.mmap | None = None
        self.memory = [bytes(self.block(at)) for at in range(CHUNKS)] if in_memory else None

    def __len__(self) -> int:
        return 200_000

    def block(self, at: int) -> memoryview:
        if self.buffer is None:
            self.buffer = mmap.mmap(-1, CHUNK)  # O_DIRECT wants aligned memory
        os.preadv(self.file, [self.buffer], at * CHUNK)
        return memoryview(self.buffer)

    def __getitem__(self, index: int) -> Any:
        chance = random.Random(index)
        for _ in range(self.reads):
            at = chance.randrange(CHUNKS)
            pixels = (self.memory[at] if self.memory else self.block(at))[:WIDTH]
        return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).float() / 255, index % 10


def scratch_file() -> int:
    """A file of CHUNKS blocks, open for reading past the page cache; it has no name and goes with
    the program.
    """
    with tempfile.TemporaryFile(dir=SCRATCH) as file:
        for _ in range(CHUNKS):
            file.write(os.urandom(CHUNK))
        file.flush()
        os.fsync(file.fileno())
        return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_DIRECT)


def reads_that_last(file: int, readers: int) -> int:
    """How many blocks an item must have here for batches to come as slowly as from a slow network
    disk.
    """
    trials = [Blocks(file, TRIAL) for _ in range(readers)]
    with ThreadPoolExecutor(readers) as pool:
        for seed in range(2):  # the first time warms up
            began = time.monotonic()
            list(pool.map(Blocks.__getitem__, trials, range(seed, seed + readers)))
        seconds_a_block = (time.monotonic() - began) / (TRIAL * readers)
    return max(1, round(BATCH_S * exchanging() / BATCH / seconds_a_block))


def main() -> None:
    args = arguments(__doc__, workers=2)
    try:
        file = scratch_file()
        reads = reads_that_last(file, max(args.workers, 1))
    except OSError as error:
        print(
            f"storage: {SCRATCH} has no direct reads ({error.strerror}); set SCRATCH to another"
            " disk",
            file=sys.stderr,
        )
        sys.exit(3)
    data = Blocks(file, reads, in_memory=args.fix)
    loader = DataLoader(data, batch_size=BATCH, sampler=own_part(data), num_workers=args.workers)
    train(layers(WIDTH, 12), loader, args, learn=partial(classify, variations=24))


if __name__ == "__main__":
    main()
