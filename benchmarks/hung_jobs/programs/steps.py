"""A small model, its training steps, and the line that says that a program is about to hang."""

import torch

MODEL = torch.nn.Linear(16, 4)
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), lr=0.01)


def train(count: int = 5) -> None:
    """Train for some steps."""
    for _ in range(count):
        OPTIMIZER.zero_grad()
        MODEL(torch.randn(8, 16)).square().mean().backward()
        OPTIMIZER.step()


def announce() -> None:
    """Print that the program is about to hang."""
    print("ready", flush=True)
