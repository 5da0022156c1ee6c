"""Each epoch starts new workers, and each of them first parses an index of the whole dataset."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
INDEX = Path(tempfile.gettempdir(), "accuracy-index", "index.json")
ENTRIES, EPOCH, WORKERS = 120_000, 640, 2


class Indexed(Dataset[Any]):
    """Samples found by an index, which each worker loads when it needs it first."""

    def __init__(self) -> None:
        self.index: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if not self.index:
            self.index = json.loads(INDEX.read_text())
        entry = self.index[number]
        return torch.full((64,), float(entry["offset"] % 11)), entry["label"]


def write_index() -> None:
    """Write an entry per sample."""
    INDEX.parent.mkdir(exist_ok=True)
    entries = [
        {"path": f"shard/{number}.bin", "offset": number * 17, "label": number % 10}
        for number in range(ENTRIES)
    ]
    INDEX.write_text(json.dumps(entries))


def main() -> None:
    torch.manual_seed(0)
    write_index()
    loader = DataLoader(Indexed(), 16, num_workers=WORKERS, persistent_workers=FIX)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for values, labels in loader:
            loss = nn.functional.cross_entropy(model(values), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
