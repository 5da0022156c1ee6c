"""A loop around compiled code, without a data loader: `compiled.py OUT KIND`.

Writes one line per step to OUT: the monotonic time at its end.
"""

import sys
import time
from collections.abc import Callable

import torch

GIVEN = torch.randn(32, 64)


def net() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


def trained(
    step: Callable[[torch.nn.Module, torch.optim.Optimizer], None], model: torch.nn.Module
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    return lambda: step(model, optimizer)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(2):  # two micro-batches are one step
        model(GIVEN).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def serve(model: torch.nn.Module) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad():
            model(GIVEN)

    return step


def in_place(model: torch.nn.Module) -> torch.nn.Module:
    model.compile(backend="eager")
    return model


KINDS: dict[str, Callable[[], Callable[[], None]]] = {
    "model": lambda: trained(train, torch.compile(net(), backend="eager")),
    "step": lambda: trained(torch.compile(train, backend="eager"), net()),
    "inference": lambda: serve(torch.compile(net(), backend="eager")),
    "in-place": lambda: serve(in_place(net())),
}

if __name__ == "__main__":
    step = KINDS[sys.argv[2]]()
    with open(sys.argv[1], "w", buffering=1) as out:
        while True:
            step()
            time.sleep(0.01)
            out.write(f"{time.monotonic_ns()}\n")
