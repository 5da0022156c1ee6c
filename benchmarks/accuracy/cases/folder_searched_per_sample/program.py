"""Each sample searches the folder with a glob pattern for its image and its mask."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FOLDER = Path(tempfile.gettempdir(), "accuracy-folder")
SAMPLES, SIZE = 2000, 24


class Segmentation(Dataset[Any]):
    """Pairs of an image and a mask, one file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {path.stem: path for path in folder.iterdir()}

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.load(f"image_{index:05}"), self.load(f"mask_{index:05}")

    def load(self, name: str) -> torch.Tensor:
        """Return the array of the file with this name, whatever its suffix."""
        if FIX:
            return torch.from_numpy(np.load(self.files[name]))
        (path,) = self.folder.glob(f"{name}.*")
        return torch.from_numpy(np.load(path))


def write_samples(folder: Path) -> None:
    """Write small images and masks."""
    folder.mkdir(exist_ok=True)
    for index in range(SAMPLES):
        image = np.full((SIZE, SIZE), index % 255, dtype=np.float32)
        np.save(folder / f"image_{index:05}.npy", image)
        np.save(folder / f"mask_{index:05}.npy", image > 100)


def main() -> None:
    torch.manual_seed(0)
    write_samples(FOLDER)
    data = Segmentation(FOLDER)
    loader = DataLoader(data, 8, shuffle=True, num_workers=2, persistent_workers=True)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for images, masks in loader:
            scores = network(images[:, None] / 255)
            loss = nn.functional.binary_cross_entropy_with_logits(scores[:, 0], masks.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if time.monotonic() - began > SECONDS:
                break
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
