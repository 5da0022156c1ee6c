"""Jobs that wait for a file: a FIFO stands for a file of a mount that does not answer."""

import os
import sys
import tempfile
from pathlib import Path

import torch
from steps import announce, train
from torch.utils.data import DataLoader, Dataset

VARIANT = sys.argv[1]
FOLDER = Path(tempfile.mkdtemp())
NO_ANSWER = FOLDER / "sample_0007.bin"
os.mkfifo(NO_ANSWER)
FIRST_BAD = 40


class Samples(Dataset[torch.Tensor]):
    """Samples of which one is in a file that cannot be read."""

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == FIRST_BAD:
            self.load()
        return torch.randn(16)

    def load(self) -> bytes:
        announce()
        if VARIANT == "worker-reads":
            kept_open = os.open(NO_ANSWER, os.O_RDWR)
            return os.read(kept_open, 1 << 20)  # hangs: worker-reads
        return NO_ANSWER.read_bytes()  # hangs: worker-opens, loop-opens


def save(path: Path) -> None:
    announce()
    torch.save(torch.zeros(1 << 20), path)  # hangs: checkpoint


def evaluate() -> None:
    announce()
    with open(NO_ANSWER) as labels:  # hangs: validation
        labels.read()


train()
if VARIANT == "checkpoint":
    save(NO_ANSWER)
elif VARIANT == "validation":
    evaluate()
else:
    for _ in DataLoader(Samples(), batch_size=4, num_workers=0 if VARIANT == "loop-opens" else 2):
        train(1)
