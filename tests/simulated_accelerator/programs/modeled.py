"""Prints the modeled durations of some operators, in milliseconds."""

import json
from collections.abc import Callable

import torch


def duration(action: Callable[[], object]) -> float:
    """Return the time of an action on the device, which is busy when it is launched."""
    first, last = (torch.Event("sim", enable_timing=True) for _ in range(2))
    for _ in range(5):
        torch.ones(256, 256, device="sim")
    first.record()
    action()
    last.record()
    last.synchronize()
    return first.elapsed_time(last)


def main() -> None:
    """Print the durations as JSON."""
    a, b = (torch.ones(64, 64, device="sim") for _ in range(2))
    image, weight = torch.ones(1, 4, 16, 16, device="sim"), torch.ones(8, 4, 3, 3, device="sim")
    actions = {
        "product": lambda: torch.mm(a, b),
        "addition": lambda: a + b,
        "convolution": lambda: torch.nn.functional.conv2d(image, weight, padding=1),
        "in_place": lambda: a.mul_(2.0),
        "list": lambda: torch._foreach_mul_([a, b], 2.0),
    }
    print(json.dumps({name: duration(action) for name, action in actions.items()}))


if __name__ == "__main__":
    main()
