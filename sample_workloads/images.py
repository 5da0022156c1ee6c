"""Images that must be decoded: compressed once when the program starts, decompressed and scaled down for every use."""

import zlib
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

SIDE, SMALL = 512, 16
WIDTH = 3 * SMALL * SMALL


def compressed(seed: int, side: int = SIDE) -> bytes:
    """One RGB picture of `side` x `side`, smooth with some noise, as a PNG would store it."""
    noise = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(side), np.arange(side))[..., None] * np.array([1, 2, 3])
    return zlib.compress(((ramp + noise.integers(0, 8, (side, side, 3))) % 256).astype(np.uint8).tobytes(), 6)


def decoded(data: bytes, side: int = SIDE) -> torch.Tensor:
    """The picture as the model wants it: SMALL x SMALL, normalised, flat."""
    pixels = np.frombuffer(zlib.decompress(data), np.uint8).reshape(side, side, 3)
    block = side // SMALL
    small = pixels.reshape(SMALL, block, SMALL, block, 3).mean(axis=(1, 3), dtype=np.float32)
    return torch.from_numpy((small / 255.0 - 0.5).reshape(WIDTH))


class Images(Dataset[Any]):
    """Decodes on every access, or, with `ahead`, once when it is made."""

    def __init__(self, *, ahead: bool = False, side: int = SIDE, distinct: int = 32) -> None:
        self.side = side
        self.files = [compressed(seed, side) for seed in range(distinct)]
        self.ready = [decoded(data, side) for data in self.files] if ahead else None

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> Any:
        at = index % len(self.files)
        image = self.ready[at] if self.ready else decoded(self.files[at], self.side)
        return image, index % 10
