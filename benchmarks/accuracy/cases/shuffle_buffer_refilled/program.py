"""A streamed dataset fills its whole shuffle buffer before the first sample of each epoch."""

import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
RECORDS, BUFFER, CHUNK, CHUNK_S = 2400, 2000, 40, 0.02
FIRST_FILL = 80 if FIX else BUFFER


class Stream(IterableDataset[Any]):
    """Records read in chunks from the network (a sleep) and shuffled in a buffer."""

    def read(self) -> Iterator[torch.Tensor]:
        """Yield the records in the order of the file."""
        for start in range(0, RECORDS, CHUNK):
            time.sleep(CHUNK_S)
            yield from torch.arange(start, start + CHUNK).float()

    def __iter__(self) -> Iterator[torch.Tensor]:
        buffer: list[torch.Tensor] = []
        for record in self.read():
            buffer.append(record)
            if len(buffer) >= FIRST_FILL:
                yield buffer.pop(random.randrange(len(buffer)))
        random.shuffle(buffer)
        yield from buffer


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Stream(), batch_size=40, num_workers=1, persistent_workers=True)
    model = nn.Sequential(*[nn.Linear(512, 512) for _ in range(4)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for records in loader:
            inputs = (records[:, None] / RECORDS).expand(-1, 512)
            model(inputs.repeat(6, 1)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
            if time.monotonic() - began > SECONDS:
                break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
