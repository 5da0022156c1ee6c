"""Steps of 0.3 ms: thirty-two tiny networks are trained one by one instead of as one batch."""

import sys
import time

import torch

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
MODELS, BATCH, INPUTS, WIDTH, RATE = 32, 16, 8, 16, 0.01


class TinyNetworks:
    """Networks of the same shape, whose weights share two tensors."""

    def __init__(self, count: int) -> None:
        self.first = torch.randn(count, INPUTS, WIDTH, requires_grad=True)
        self.second = torch.randn(count, WIDTH, 1, requires_grad=True)

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Make one step with each network."""
        predicted = torch.tanh(inputs @ self.first) @ self.second
        (predicted - targets).square().mean(dim=(1, 2)).sum().backward()
        with torch.no_grad():
            for weights in (self.first, self.second):
                weights -= RATE * weights.grad
                weights.grad = None


def main() -> None:
    torch.manual_seed(0)
    groups = [TinyNetworks(MODELS)] if FIX else [TinyNetworks(1) for _ in range(MODELS)]
    size = MODELS // len(groups)
    data = torch.randn(10_000, INPUTS)
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        for group in groups:
            inputs = data[torch.randint(0, len(data), (size, BATCH))]
            group.train(inputs, inputs.sum(dim=2, keepdim=True))
            steps += size
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
