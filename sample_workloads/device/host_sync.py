"""Verdict: host-sync. The loss is read with `.item()` after each step.

Then the device has nothing to do until Python has prepared the next step.
"""

import time

import torch

from sample_workloads.device.training_on_device import deep_model, train_on_device, width_of_layers
from sample_workloads.training import Meter, device, parse_arguments

PYTHON_S = 0.03
READ_EVERY = 20


def prepare(seconds: float) -> int:
    """Compute in Python for this long, as curricula, samplers and metrics do."""
    until, sum_of_digits = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        sum_of_digits += sum(map(int, str(sum_of_digits)))
    return sum_of_digits


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    width, steps = width_of_layers(), 0
    losses: list[float] = []
    labels = torch.randint(0, 10, (width,), device=device())
    data = [(torch.randn(width, width, device=device()), labels) for _ in range(4)]

    def after_step(loss: torch.Tensor) -> None:
        nonlocal steps
        steps += 1
        if not args.fix or steps % READ_EVERY == 0:
            losses[:] = [loss.item()]
        prepare(PYTHON_S)

    train_on_device(deep_model(width), data, Meter(args), after_step=after_step)


if __name__ == "__main__":
    main()
