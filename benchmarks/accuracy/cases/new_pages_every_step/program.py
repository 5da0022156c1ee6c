"""Images are normalized out of place: every step the kernel provides and clears new pages."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
BATCH, SIDE = 32, 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalization:
    """Converts images of bytes to normalized floats."""

    def __init__(self) -> None:
        self.mean = torch.tensor(MEAN)[:, None, None]
        self.deviation = torch.tensor(DEVIATION)[:, None, None]
        self.buffer = torch.zeros(BATCH, 3, SIDE, SIDE)

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return new images."""
        scaled = images.float() / 255
        return (scaled - self.mean) / self.deviation

    def apply_in_place(self, images: torch.Tensor) -> torch.Tensor:
        """Return the buffer, filled with the images."""
        self.buffer.copy_(images)
        return self.buffer.div_(255).sub_(self.mean).div_(self.deviation)


def main() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 255, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
    normalization = Normalization()
    model = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(147, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        if FIX:
            inputs = normalization.apply_in_place(images)
        else:
            inputs = normalization.apply(images)
        loss = nn.functional.cross_entropy(model(inputs), torch.randint(0, 10, (BATCH,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
