"""A compiled loss gets a list with a tensor per image; each new length compiles it again."""

import random
import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FEATURES, BOXES, IMAGES = 32, 10, 120

# Raised after a warning that the limit was reached.
torch._dynamo.config.recompile_limit = 1000
torch._dynamo.config.accumulated_recompile_limit = 10_000


@torch.compile(backend="eager")
def detection_loss(predicted: list[torch.Tensor], targets: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean loss over the images of a batch."""
    losses = [
        torch.nn.functional.smooth_l1_loss(boxes, target)
        for boxes, target in zip(predicted, targets, strict=True)
    ]
    return torch.stack(losses).mean()


def main() -> None:
    torch.manual_seed(0)
    random.seed(0)
    head = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        features = torch.randn(random.randint(2, IMAGES), BOXES, FEATURES)
        predicted, targets = head(features), features[..., :4]
        if FIX:
            loss = detection_loss([predicted], [targets])
        else:
            loss = detection_loss(list(predicted), list(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
