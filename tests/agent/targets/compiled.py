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


class Blocks(torch.nn.Module):
    """A model of which only the blocks are compiled: each separately, or all as one function."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(8))
        self.act = torch.compile(torch.relu, backend="eager") if shared else torch.relu
        if not shared:
            for block in self.blocks:
                block.compile(backend="eager")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = self.act(block(x))
        return x


KINDS: dict[str, Callable[[], Callable[[], None]]] = {
    "model": lambda: trained(train, torch.compile(net(), backend="eager")),
    "step": lambda: trained(torch.compile(train, backend="eager"), net()),
    "inference": lambda: serve(torch.compile(net(), backend="eager")),
    "in-place": lambda: serve(in_place(net())),
    "blocks": lambda: serve(Blocks(shared=False)),
    "shared-blocks": lambda: serve(Blocks(shared=True)),
    "trained-blocks": lambda: trained(train, Blocks(shared=False)),
}

if __name__ == "__main__":
    step = KINDS[sys.argv[2]]()
    with open(sys.argv[1], "w", buffering=1) as out:
        while True:
            step()
            time.sleep(0.01)
            out.write(f"{time.monotonic_ns()}\n")
