"""Compiles before, during and after a recording (`plain`: without one), and prints how many graphs
each case compiled, its graph breaks and its errors.
"""

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from torch import compile as imported_early
from torch._dynamo.utils import counters

import perfscope

BACKEND = "eager"
RESULT: dict[str, Any] = {}
EARLY: dict[str, Any] = {}


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(8, 8)) for _ in range(2)
        )

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            given = block(given).relu()
        return given


def compiled(function: Any, *, full: bool = False) -> Any:
    return torch.compile(function, backend=BACKEND, fullgraph=full)


def train(model: Any, optimizer: torch.optim.Optimizer, steps: int = 4) -> None:
    for _ in range(steps):
        model(torch.ones(4, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1)


def counted() -> dict[str, int]:
    frames = {f"frames {name}": count for name, count in counters["frames"].items()}
    return {
        **frames,
        "breaks": sum(counters["graph_break"].values()),
        "graphs": counters["stats"]["unique_graphs"],
    }


def case(name: str, function: Callable[[], Any]) -> None:
    before = counted()
    raised = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function()
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raised = type(error).__name__
    more = {key: count - before.get(key, 0) for key, count in counted().items()}
    RESULT[name] = [raised, more, sorted(str(warning.message)[:60] for warning in caught)]


def compile_early() -> None:
    """Compile a function, a step, a module and an optimizer before the recording; the function is
    not called before it.
    """
    model = Net()
    EARLY["function"] = compiled(lambda given: model(given) + 1, full=True)
    optimizer = sgd(model)

    def step(given: torch.Tensor) -> None:
        optimizer.zero_grad()
        model(given).sum().backward()
        optimizer.step()

    EARLY["step"], EARLY["module"] = compiled(step), compiled(Net())
    other = Net()
    other(torch.ones(4, 8)).sum().backward()
    EARLY["optimizer"] = compiled(sgd(other).step)
    for _ in range(3):
        EARLY["step"](torch.ones(4, 8))
        EARLY["module"](torch.ones(4, 8))
        EARLY["optimizer"]()


def blocks_in_place() -> None:
    net = Net()
    for block in net.blocks:
        block.compile(backend=BACKEND)
    train(net, sgd(net))


def in_place() -> None:
    net = Net()
    net.compile(backend=BACKEND, fullgraph=True)
    train(net, sgd(net))


def optimizer_step() -> None:
    net = Net()
    net(torch.ones(4, 8)).sum().backward()
    step = compiled(torch.optim.Adam(net.parameters()).step)
    for _ in range(3):
        step()


def after_a_reset() -> None:
    torch._dynamo.reset()
    optimizer_step()
    compiled(Net(), full=True)(torch.ones(4, 8))


def by_import() -> None:
    net = Net()
    train(imported_early(net, backend=BACKEND, fullgraph=True), sgd(net))


def cases(when: str) -> None:
    if EARLY:
        case(f"{when}: early function", lambda: EARLY["function"](torch.ones(4, 8)))
        case(f"{when}: early step", lambda: EARLY["step"](torch.ones(4, 8)))
        case(f"{when}: early module", lambda: EARLY["module"](torch.ones(4, 8)))
        case(f"{when}: early optimizer", lambda: EARLY["optimizer"]())
    case(f"{when}: imported early", by_import)
    case(f"{when}: blocks in place", blocks_in_place)
    case(f"{when}: in place", in_place)
    case(f"{when}: optimizer", optimizer_step)
    case(f"{when}: break", lambda: compiled(lambda given: given.sum().item() + 1)(torch.ones(3)))
    case(f"{when}: reset", after_a_reset)
    case(f"{when}: export", lambda: torch.export.export(Net(), (torch.ones(4, 8),)))
    case(f"{when}: script", lambda: torch.jit.script(Net().blocks[0]))


def live(seconds: float) -> None:
    """Train an ordinary model for a while."""
    net = Net()
    until = time.monotonic() + seconds
    while True:
        train(net, sgd(net), 2)
        if time.monotonic() > until:
            return


if __name__ == "__main__":
    way, order, folder = sys.argv[1:]
    recorded = way == "recorded"
    if order == "compiled-first":
        compile_early()
    with perfscope.profile(out=folder, show=False) if recorded else contextlib.nullcontext():
        live(4.0 if recorded else 0.0)  # longer than the probe watches for modules
        cases("at first")
        live(1.5 if recorded else 0.0)  # by then the hooks of the optimizer are set again
        cases("later")
    if not EARLY:
        compile_early()
    cases("after")
    print(json.dumps(RESULT))
