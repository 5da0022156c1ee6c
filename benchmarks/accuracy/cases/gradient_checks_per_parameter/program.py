"""Every step computes statistics of each gradient, one number at a time, to find exploding ones."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WIDTH, LAYERS, LARGEST_NORM = 24, 100, 1.0
MEASURES = (torch.norm, torch.min, torch.max, torch.mean, torch.std)


def gradient_statistics(model: nn.Module) -> dict[str, float]:
    """Return several statistics of each gradient."""
    statistics: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        for measure in MEASURES:
            statistics[f"{name}/{measure.__name__}"] = measure(parameter.grad).item()
    return statistics


def make_model() -> nn.Module:
    """Return a deep, narrow network."""
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [nn.Linear(WIDTH, WIDTH), nn.Tanh()]
    return nn.Sequential(*layers)


def main() -> None:
    torch.manual_seed(0)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps, largest, began = 0, 0.0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        loss = model(torch.randn(16, WIDTH)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if not FIX:
            largest = max(largest, *gradient_statistics(model).values())
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM, error_if_nonfinite=FIX)
        optimizer.step()
        steps += 1
    print(f"largest {largest:.3g}")
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
