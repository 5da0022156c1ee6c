"""Moving averages of the weights, with three decays, are updated tensor by tensor in Python."""

import sys
import time

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WIDTH, LAYERS, DECAYS = 32, 100, (0.99, 0.999, 0.9999)


class AveragedWeights:
    """A smoothed copy of the weights of a model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.clone() for name, value in model.state_dict().items()}
        self.averaged = list(self.shadow.values())
        self.current = [parameter.detach() for parameter in model.parameters()]

    def update(self, model: nn.Module) -> None:
        """Move the copy towards the weights of the model."""
        for name, value in model.state_dict().items():
            self.shadow[name] = self.decay * self.shadow[name] + (1.0 - self.decay) * value

    def update_at_once(self) -> None:
        """Do the same for all tensors in one call."""
        torch._foreach_lerp_(self.averaged, self.current, 1.0 - self.decay)


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    averages = [AveragedWeights(model, decay) for decay in DECAYS]
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        model(torch.randn(8, WIDTH)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        for average in averages:
            if FIX:
                average.update_at_once()
            else:
                average.update(model)
        steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
