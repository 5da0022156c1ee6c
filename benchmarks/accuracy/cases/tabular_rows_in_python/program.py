"""A recommender reads table rows one by one and makes a tensor of each of 26 columns."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
ROWS, COLUMNS, VALUES, BATCH = 200_000, 26, 1000, 256
Batch = tuple[dict[str, torch.Tensor], torch.Tensor]


class Clicks(Dataset[Any]):
    """Rows of categorical features and whether the user clicked."""

    def __init__(self) -> None:
        numbers = np.random.default_rng(0)
        names = [f"feature_{column}" for column in range(COLUMNS)]
        self.columns = {name: numbers.integers(0, VALUES, ROWS) for name in names}
        self.clicked = numbers.integers(0, 2, ROWS).astype(np.float32)

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        features = {name: torch.tensor(values[row]) for name, values in self.columns.items()}
        return features, torch.tensor(self.clicked[row])

    def batches(self) -> Iterator[Batch]:
        """Yield whole batches, each column sliced at once."""
        for rows in np.array_split(np.random.permutation(ROWS), ROWS // BATCH):
            features = {
                name: torch.from_numpy(values[rows]) for name, values in self.columns.items()
            }
            yield features, torch.from_numpy(self.clicked[rows])


class Model(nn.Module):
    """A sum of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(VALUES, 8) for _ in range(COLUMNS))

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        columns = zip(self.tables, features.values(), strict=True)
        return sum(table(values[:, None]) for table, values in columns).sum(dim=1)


def main() -> None:
    torch.manual_seed(0)
    data, model = Clicks(), Model()
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for features, clicked in data.batches() if FIX else loader:
            loss = nn.functional.binary_cross_entropy_with_logits(model(features), clicked)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if time.monotonic() - began > SECONDS:
                break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
